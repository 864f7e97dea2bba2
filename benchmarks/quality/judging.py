"""A model on the cells of a comparison: the steps and the rate that validation finds best, then the held-out tasks."""

import itertools
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from app.episode import Episode
from app.learners.model import Model
from app.training.evaluate import task_metrics
from benchmarks.quality.comparisons import Comparison
from benchmarks.quality.methods import STEPS_TRIED, Method
from benchmarks.quality.tasks import in_rows


class Choice(NamedTuple):
    """How a model adapts to the tasks of one cell."""

    steps: int
    rate_scale: float


def choices(model: Model, method: Method) -> list[Choice]:
    """Return what there is to choose from; learned rates hold for the steps that they were trained for alone."""
    traits = model.learner.traits
    if not traits.takes_steps:
        return [Choice(0, 1.0)]
    if traits.learned_rates:
        return [Choice(traits.steps, 1.0)]
    most = model.card.max_steps or traits.steps
    steps = method.steps or sorted({traits.steps, *STEPS_TRIED})
    return [Choice(n, scale) for n, scale in itertools.product(steps, method.scales) if n <= most]


def chosen(comparison: Comparison, model: Model, found: Sequence[Choice], batches: Sequence[Episode]) -> Choice:
    """Return the choice that is best on validation tasks; the first where none is finite."""
    if len(found) == 1:
        return found[0]
    sign = 1.0 if comparison.metric == "accuracy" else -1.0
    means = torch.stack([sign * values(comparison, model, choice, batches).mean() for choice in found])
    return found[int(torch.where(means.isfinite(), means, -torch.inf).argmax())]


def values(comparison: Comparison, model: Model, choice: Choice, batches: Sequence[Episode]) -> Tensor:
    """Return the metric of each task [T]."""
    num_rows = 0 if model.learner.traits.any_ways else model.card.num_outputs
    return torch.cat(
        [
            task_metrics(model.learner, model.meta, in_rows(episodes, num_rows), choice.steps, choice.rate_scale)[
                comparison.metric
            ]
            for episodes in batches
        ]
    )


def fits(model: Model, ways: int) -> bool:
    """Tell whether a model takes tasks of so many ways; 0 for regression."""
    return model.learner.traits.any_ways or ways <= model.card.num_outputs
