"""Packed parameters: the very numbers, as bytes that are a safetensors file."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load, save

from app.engine.packed import Packed, gathered, pack, packed, packed_from_bytes, unpack
from app.episode import Tree

CPU = torch.device("cpu")
DTYPES = [torch.float32, torch.float64, torch.int64, torch.bool, torch.float16, torch.bfloat16, torch.uint8]

trees = st.dictionaries(
    st.text("abc.", min_size=1, max_size=6),
    st.tuples(st.sampled_from(DTYPES), st.lists(st.integers(0, 3), max_size=3)),
    max_size=5,
)


def tree_of(drawn: dict[str, tuple[torch.dtype, list[int]]], seed: int = 0) -> Tree:
    generator = torch.Generator().manual_seed(seed)
    return {name: torch.randint(0, 2, shape, generator=generator).to(dtype) for name, (dtype, shape) in drawn.items()}


def assert_equal(found: Tree, expected: Tree) -> None:
    assert found.keys() == expected.keys()
    assert all(torch.equal(found[name], leaf) and found[name].dtype == leaf.dtype for name, leaf in expected.items())


@given(trees)
@settings(max_examples=60, deadline=None)
def test_bytes_are_those_of_a_safetensors_file_and_come_back_equal(
    drawn: dict[str, tuple[torch.dtype, list[int]]],
) -> None:
    tree = tree_of(drawn)
    task = packed(tree)
    assert_equal(task.tree(), tree)
    assert_equal(load(task.as_bytes()), tree)
    assert_equal(packed_from_bytes(task.as_bytes(), CPU).tree(), tree)
    assert_equal(packed_from_bytes(save(tree, {"note": "x"}), CPU).tree(), tree)


@given(trees, st.integers(2, 5))
@settings(max_examples=60, deadline=None)
def test_many_tasks_are_packed_gathered_and_unpacked(
    drawn: dict[str, tuple[torch.dtype, list[int]]], num_tasks: int
) -> None:
    tasks = [tree_of(drawn, seed) for seed in range(num_tasks)]
    layout, rows = pack({name: torch.stack([task[name] for task in tasks]) for name in tasks[0]}, num_tasks)
    together = unpack(layout, gathered([row.clone() for row in rows]))
    for i, task in enumerate(tasks):
        assert_equal(Packed(layout, rows[i]).tree(), task)
        assert_equal({name: leaf[i] for name, leaf in together.items()}, task)


def test_layouts_of_equal_tasks_are_one_object() -> None:
    first, second = (packed({"a": torch.randn(3), "b": torch.randn(2, 2)}) for _ in range(2))
    assert first.layout is second.layout
    assert packed_from_bytes(first.as_bytes(), CPU).layout == first.layout


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\x00" * 4,
        (10**15).to_bytes(8, "little") + b"{}",
        packed({"a": torch.ones(3)}).as_bytes()[:-1],
        packed({"a": torch.ones(3)}).as_bytes() + b"\x00",
        (8).to_bytes(8, "little") + b"[1, 2, 3",
        (8).to_bytes(8, "little") + b"[1, 2]  ",
    ],
)
def test_what_is_no_such_file_is_refused(data: bytes) -> None:
    with pytest.raises(ValueError, match="not a safetensors file"):
        packed_from_bytes(data, CPU)
