"""What a learner gives for one task or many, and how answers are compared."""

from collections.abc import Callable
from typing import Any, NamedTuple, TypeVar

import torch
from torch import Tensor

from app.episode import Episode, MetaParams, Settings, TaskParams, Trace
from app.learners.learner import NO_NOISE, Learner

STEPS = 2
SINGLE, DOUBLE = 1e-5, 1e-9
"""Tolerances: of float32, and of float64, which tells rounding from a real difference."""

AnyTree = TypeVar("AnyTree")


class Answer(NamedTuple):
    """What a learner gives for one task, or for tasks along a leading axis."""

    task_params: TaskParams
    trace: Trace
    outputs: Tensor
    meta_loss: Tensor


def answer(learner: Learner, meta: MetaParams, episode: Episode, steps: int = STEPS, scale: float = 1.0) -> Answer:
    """Adapt on one task, predict its query and judge it."""
    settings = Settings(steps, torch.tensor(scale, dtype=dtype_of(meta)))
    task_params, trace = learner.adapt(meta, episode.support, settings, NO_NOISE)
    outputs = learner.predict(meta, task_params, episode.query.inputs)
    loss, _ = learner.meta_loss(meta, episode, settings, NO_NOISE, torch.tensor(0.5))
    return Answer(task_params, trace, outputs, loss)


def answers(learner: Learner, meta: MetaParams, episodes: Episode, steps: int = STEPS) -> Answer:
    """Do the same for all tasks of a batch at once."""
    vmapped: Callable[[Episode], Answer] = torch.vmap(lambda episode: answer(learner, meta, episode, steps))
    return vmapped(episodes)


def task_of(batch: AnyTree, i: int) -> AnyTree:
    """Return one task of a tree with a leading task axis."""
    return mapped(lambda leaf: leaf[i], batch)


def mapped(change: Callable[[Tensor], Tensor], tree: AnyTree) -> AnyTree:
    """Return the tree with each tensor changed."""
    changed: AnyTree = torch.utils._pytree.tree_map(change, tree)
    return changed


def as_double(tree: AnyTree) -> AnyTree:
    return mapped(lambda leaf: leaf.double() if leaf.is_floating_point() else leaf, tree)


def close(found: Any, expected: Any, tolerance: float = SINGLE) -> None:
    """Assert equal leaves within `tolerance` of 1, or of the largest number of the leaf where that is larger."""
    leaves, form = torch.utils._pytree.tree_flatten(found)
    wanted, wanted_form = torch.utils._pytree.tree_flatten(expected)
    assert form == wanted_form
    for leaf, other in zip(leaves, wanted, strict=True):
        largest = max(1.0, float(other.abs().max())) if other.numel() and other.is_floating_point() else 0.0
        torch.testing.assert_close(leaf, other, rtol=0, atol=tolerance * largest)


def equal_to_the_bit(found: Any, expected: Any) -> None:
    torch.testing.assert_close(found, expected, rtol=0, atol=0, equal_nan=True)


def dtype_of(meta: MetaParams) -> torch.dtype:
    return next(iter(meta.trained.values())).dtype
