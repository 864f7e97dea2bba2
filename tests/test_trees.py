from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file

from app import trees
from app.episode import Tree


def tree(factor: float = 1.0) -> Tree:
    return {
        "body.0.weight": factor * torch.arange(6.0).view(2, 3),
        "head.bias": factor * torch.ones(2),
        "rate": torch.tensor(factor),
    }


def equal(one: Tree, other: Tree) -> bool:
    return one.keys() == other.keys() and all(
        leaf.dtype == other[name].dtype and torch.equal(leaf, other[name]) for name, leaf in one.items()
    )


def test_unstack_undoes_stack() -> None:
    given_trees = [tree(1), tree(2), tree(3)]
    stacked = trees.stack(given_trees)
    assert {name: leaf.shape[0] for name, leaf in stacked.items()} == dict.fromkeys(tree(), 3)
    assert all(equal(one, other) for one, other in zip(trees.unstack(stacked), given_trees, strict=True))


def test_merge_prefers_the_changes_and_leaves_both_alone() -> None:
    base, changes = tree(), {"rate": torch.tensor(9.0), "new": torch.zeros(1)}
    merged = trees.merge(base, changes)
    assert merged["rate"] is changes["rate"]
    assert merged["head.bias"] is base["head.bias"]
    assert merged.keys() == {*base, "new"}
    assert equal(base, tree())
    assert len(changes) == 2


def test_subtree_undoes_prefixed() -> None:
    both = trees.merge(trees.prefixed(tree(1), "trained."), trees.prefixed(tree(2), "fixed."))
    assert equal(trees.subtree(both, "trained."), tree(1))
    assert equal(trees.subtree(both, "fixed."), tree(2))


def test_prefix_is_taken_off_once() -> None:
    assert trees.subtree({"a.a.b": torch.zeros(1)}, "a.").keys() == {"a.b"}


def test_bytes_are_those_of_the_numbers() -> None:
    mixed = {"a": torch.zeros(3, 4), "b": torch.zeros(5, dtype=torch.bool), "c": torch.zeros(2, dtype=torch.int64)}
    assert trees.num_bytes(mixed) == 48 + 5 + 16
    assert trees.num_bytes({}) == 0


@pytest.mark.parametrize(("number", "finite"), [(1.0, True), (float("nan"), False), (float("inf"), False)])
def test_one_number_that_is_not_finite_is_found(number: float, finite: bool) -> None:
    leaves = {**tree(), "last": torch.tensor([[0.0, number]]), "mask": torch.ones(2, dtype=torch.bool)}
    assert trees.all_finite(leaves) is finite


def test_empty_tree_is_finite() -> None:
    assert trees.all_finite({}) is True


def test_tree_on_its_own_device_is_equal() -> None:
    assert equal(trees.to_device(tree(), torch.device("cpu")), tree())


LEAVES = st.sampled_from(
    [
        torch.tensor(1.5),
        torch.zeros(0, 3),
        torch.tensor([True, False]),
        torch.tensor([2**40, -1]),
        torch.tensor([float("nan"), float("inf"), -0.0, 1e-45]),
        torch.randn(2, 3, 4, generator=torch.Generator().manual_seed(0)),
        torch.ones(2, dtype=torch.float64) / 3,
        torch.ones(2, dtype=torch.bfloat16) / 3,
    ]
)


@settings(max_examples=50, deadline=None, derandomize=True, database=None)
@given(st.dictionaries(st.text(min_size=1, max_size=8).filter(lambda name: name != "__metadata__"), LEAVES, max_size=5))
def test_tree_survives_bytes_to_the_bit(leaves: Tree) -> None:
    leaves = {name: leaf.clone() for name, leaf in leaves.items()}
    loaded = trees.from_bytes(trees.to_bytes(leaves))
    assert loaded.keys() == leaves.keys()
    for name, leaf in leaves.items():
        torch.testing.assert_close(loaded[name], leaf, rtol=0, atol=0, equal_nan=True)


def test_leaf_that_is_a_view_is_saved_as_what_it_shows() -> None:
    whole = torch.arange(6.0).view(2, 3)
    views = {"turned": whole.T, "row": whole[1], "column": whole[:, 1], "same": torch.ones(1).expand(4)}
    for name, view in views.items():
        assert equal(trees.from_bytes(trees.to_bytes({name: view})), {name: view.clone()})


def test_leaves_that_share_memory_are_saved_each() -> None:
    shared = torch.arange(4.0)
    leaves = {"a": shared, "b": shared, "part": shared[1:]}
    assert equal(trees.from_bytes(trees.to_bytes(leaves)), leaves)


def test_leaf_with_a_gradient_is_saved_without_it() -> None:
    loaded = trees.from_bytes(trees.to_bytes({"a": torch.ones(2, requires_grad=True) * 2}))
    assert not loaded["a"].requires_grad
    assert torch.equal(loaded["a"], torch.full((2,), 2.0))


def test_same_tree_gives_the_same_bytes_in_any_order() -> None:
    assert trees.to_bytes(dict(reversed(tree().items()))) == trees.to_bytes(tree())


def test_bytes_are_a_safetensors_file(tmp_path: Path) -> None:
    path = tmp_path / "tree.safetensors"
    path.write_bytes(trees.to_bytes(tree()))
    assert equal(load_file(path), tree())


WHOLE = trees.to_bytes(tree())


@pytest.mark.parametrize(
    "data",
    [b"", b"\x80\x04K\x01.", b"no such file", WHOLE[:-1], WHOLE[:20], WHOLE + b"\0", b"\xff" * 8 + WHOLE[8:]],
    ids=["nothing", "pickle", "text", "a byte short", "half a header", "a byte too many", "enormous header"],
)
def test_bytes_that_are_no_tree_are_refused(data: bytes) -> None:
    with pytest.raises(ValueError, match="not a safetensors file"):
        trees.from_bytes(data)


@settings(max_examples=200, deadline=None, derandomize=True, database=None)
@given(st.lists(st.tuples(st.integers(0, len(WHOLE) - 1), st.integers(0, 255)), min_size=1, max_size=4))
def test_damaged_bytes_are_refused_or_a_tree(changes: list[tuple[int, int]]) -> None:
    damaged = bytearray(WHOLE)
    for place, byte in changes:
        damaged[place] = byte
    try:
        found = trees.from_bytes(bytes(damaged))
    except ValueError:
        return
    assert all(isinstance(leaf, torch.Tensor) for leaf in found.values())


def test_sha256_is_the_published_one() -> None:
    assert trees.sha256(b"abc") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
