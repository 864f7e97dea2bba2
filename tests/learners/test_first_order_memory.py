"""First order builds no second-order graph: its memory does not grow with the inner steps, second order's does."""

import weakref
from typing import Any

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from app.learners.registry import build_learner
from app.networks.registry import build_network
from app.task_distributions.registry import build_distribution
from app.training.meta_step import meta_gradient

FEW, MANY = 4, 12
SINUSOIDS = build_distribution({"kind": "sinusoid"}, "train", {})
FIRST_ORDER = [
    ({"kind": "fomaml"}, False),
    ({"kind": "maml", "first_order": True}, False),
    ({"kind": "maml"}, True),
    ({"kind": "anil"}, True),
    ({"kind": "boil"}, True),
    ({"kind": "reptile", "minibatches": 1}, False),
]


class LiveBytes(TorchDispatchMode):  # type: ignore[no-untyped-call]  # torch leaves it untyped
    """Count the bytes of tensors made while this is entered and not yet freed, and the most there ever were."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # torch leaves it untyped
        self._known: set[int] = set()
        self.now: int = 0
        self.peak: int = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        made = func(*args, **(kwargs or {}))
        for leaf in torch.utils._pytree.tree_leaves(made):
            if isinstance(leaf, torch.Tensor):
                self._see(leaf.untyped_storage())
        return made

    def _see(self, storage: torch.UntypedStorage) -> None:
        key, num_bytes = storage._cdata, storage.nbytes()
        if key in self._known:
            return
        self._known.add(key)
        self.now += num_bytes
        self.peak = max(self.peak, self.now)
        weakref.finalize(storage, self._forget, key, num_bytes)

    def _forget(self, key: int, num_bytes: int) -> None:
        self._known.discard(key)
        self.now -= num_bytes


def peak_bytes(options: dict[str, Any], steps: int, *, first_order: bool = False) -> int:
    network = build_network({"kind": "mlp", "hidden": [64, 64]}, (1,), 1)
    learner = build_learner({**options, "steps": steps}, network, "squared", 0)
    generator = torch.Generator().manual_seed(0)
    meta, episodes = learner.init(generator), SINUSOIDS.sample(generator, 8)
    with LiveBytes() as live:
        meta_gradient(learner, meta, episodes, steps, torch.tensor(0.5), first_order=first_order)
    peak: int = live.peak
    return peak


@pytest.mark.parametrize(("options", "by_settings"), FIRST_ORDER, ids=str)
def test_memory_of_first_order_does_not_grow_with_the_steps(options: dict[str, Any], by_settings: bool) -> None:
    few, many = (peak_bytes(options, steps, first_order=by_settings) for steps in (FEW, MANY))
    assert many < 1.01 * few


@pytest.mark.parametrize("kind", ["maml", "anil", "boil"])
def test_memory_of_second_order_grows_with_each_step(kind: str) -> None:
    counts = [peak_bytes({"kind": kind}, steps) for steps in (FEW, 2 * FEW, 3 * FEW)]
    first, second = counts[1] - counts[0], counts[2] - counts[1]
    assert first > 0.05 * counts[0]
    assert second > 0.9 * first


def test_memory_that_is_counted_is_that_of_tensors_that_live() -> None:
    with LiveBytes() as live:
        kept = [torch.ones(250) for _ in range(3)]
        torch.ones(1000) + 1.0
        assert live.now == 3 * 1000
        del kept
    assert live.now == 0
    assert live.peak == 3 * 1000 + 2 * 4000
