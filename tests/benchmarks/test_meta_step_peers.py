"""The peers that need nothing but torch run in this interpreter and give our gradient."""

import sys
from pathlib import Path

import pytest
import torch

from app.learners.model import learner_of
from app.training.meta_step import meta_gradient
from benchmarks.meta_step_peers import (
    CASES,
    COMPILED,
    EAGER,
    TORCH_PEERS,
    Peer,
    check,
    figures_of,
    given_of,
    in_turn,
    main,
)
from benchmarks.peers.given import write_given


@pytest.mark.parametrize(("name", "case"), [("dict", "sinusoid"), ("functional_call", "sinusoid"), ("dict", "conv4-5")])
def test_peer_gives_our_gradient(name: str, case: str, tmp_path: Path) -> None:
    asked, file = CASES[case](), tmp_path / "case.npz"
    learner = learner_of(asked.card)
    meta = learner.init(torch.Generator().manual_seed(0))
    write_given(given_of(asked, meta), file)
    ours, _ = meta_gradient(learner, meta, asked.episodes, 1, torch.zeros(()))
    with Peer(Path(sys.executable), name, file) as peer:
        check(name, peer.gradient, [leaf.numpy() for leaf in ours.values()])
        assert peer.turn(1) > 0.0


def test_another_gradient_is_refused() -> None:
    one, other = torch.zeros(2).numpy(), torch.full((2,), 0.01).numpy()
    with pytest.raises(AssertionError, match="higher: its gradient differs"):
        check("higher", [one], [other])


def test_each_has_its_turn_in_each_round_and_the_first_counts_for_nothing() -> None:
    order: list[str] = []

    taken = {"a": [100.0, 1.0, 3.0, 2.0], "b": [0.0, 5.0, 5.0, 6.0]}

    def turns(name: str) -> float:
        order.append(name)
        return taken[name].pop(0)

    found = in_turn({"a": lambda calls: turns("a"), "b": lambda calls: turns("b")}, calls=1, rounds=3)
    assert order == ["a", "b"] * 4
    assert found == {"a": 2.0, "b": 5.0}


def test_figures_are_ratios_to_the_fastest_of_a_kind() -> None:
    times = {COMPILED: 2.0, EAGER: 9.0, **dict.fromkeys(TORCH_PEERS, 100.0), "dict": 80.0, "torchopt": 50.0, "jax": 4.0}
    assert [figure.reached.split()[0] for figure in figures_of("sinusoid", times)] == ["40", "25", "2"]
    assert [figure.met for figure in figures_of("sinusoid", times)] == [True, False, True]
    assert figures_of("conv4-75", times)[0].reached.startswith("25 (torchopt 50 ms, ours 2 ms, eager 9 ms")


def test_nothing_is_measured_without_peers(tmp_path: Path) -> None:
    assert main(["--peers-python", str(tmp_path / "python")]) == []
