"""What support losses are on validation tasks of many sizes: what the familiarity of a caller's rows is read off."""

import math
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import pad

from app.card import ANY_WAYS, Card, Reference
from app.episode import Episode, MetaParams, Settings, Support
from app.jobs.report import evaluation_tasks, fresh_batches, steps_to_show
from app.learners.learner import NO_NOISE, Learner
from app.learners.model import Model
from app.task_distributions.distribution import Distribution
from app.task_distributions.registry import Datasets
from app.training.portions import portions

REFERENCE_SEED = 3_000_003
"""Far from the seeds of training, evaluation and promotion."""
WAYS = (2, 5, 10, 20)
SHOTS_A_CLASS = (1, 2, 5, 10)
SHOTS_A_TASK = (1, 2, 5, 10, 20, 50)
NUM_QUANTILES = 21
MOST_TASKS, LEAST_TASKS = 256, 64
ROWS_A_SIZE = 12_800
"""Support rows that are looked at for one size of task, unless LEAST_TASKS have more: bounds the time of large ones."""
DIGITS = 6


class _Size(NamedTuple):
    """A number of ways and shots to look at; ways are None where tasks of this kind have no choice of them."""

    ways: int | None
    shots: int


def references(model: Model, tasks: Mapping[str, Any], datasets: Datasets) -> tuple[Reference, ...]:
    """Return the quantiles of support losses by step, for each size of task that the validation split affords.

    `tasks` is what a training request says of them. Losses that are not finite are left out, and a step where they are
    half of all.
    """
    steps = sorted({*steps_to_show(model.card), model.card.default_steps or 0})
    found = []
    for size in _sizes(model.card, tasks):
        distribution = _affordable(tasks, size, datasets)
        if distribution is not None:
            found.append(_reference(model, distribution, steps))
    return tuple(reference for reference in found if reference.loss_by_step)


def _sizes(card: Card, tasks: Mapping[str, Any]) -> Iterator[_Size]:
    """Yield the sizes of a grid, and the request's own."""
    own = tasks["shots"] if isinstance(tasks["shots"], list) else [tasks["shots"]]
    if tasks["kind"] != "labelled":
        yield from (_Size(None, shots) for shots in sorted({*SHOTS_A_TASK, *own}))
        return
    most = math.inf if card.output.shape[0] == ANY_WAYS else card.output.shape[0]
    for ways in sorted({*(ways for ways in WAYS if ways <= most), tasks["ways"]}):
        yield from (_Size(ways, shots) for shots in sorted({*SHOTS_A_CLASS, *own}))


def _affordable(tasks: Mapping[str, Any], size: _Size, datasets: Datasets) -> Distribution | None:
    """Return validation tasks of this size; None where the split has too few classes or rows for them."""
    try:
        return evaluation_tasks(tasks, size.shots, 1, "validation", datasets, size.ways)
    except ValueError:
        return None


def _reference(model: Model, distribution: Distribution, steps: list[int]) -> Reference:
    support = distribution.sample(torch.Generator().manual_seed(REFERENCE_SEED), 1).support
    rows = support.row_mask.shape[1]
    num_tasks = max(LEAST_TASKS, min(MOST_TASKS, ROWS_A_SIZE // rows))
    batches = fresh_batches(distribution, num_tasks, REFERENCE_SEED)
    padding = max(0, model.card.output.shape[0] - distribution.num_outputs) if support.class_mask.shape[1] else 0
    traces = [
        support_losses(model.learner, model.meta, _padded(portion, padding), steps[-1])
        for batch in batches
        for portion in portions(batch)
    ]
    losses_TS = torch.cat(traces).double()
    quantiles = {str(step): _quantiles(losses_TS[:, step]) for step in steps}
    ways = distribution.num_outputs if distribution.output_kind == "classification" else None
    kept = {step: found for step, found in quantiles.items() if found}
    return Reference(ways=ways, rows=rows, loss_by_step=kept)


@torch.no_grad()
def support_losses(learner: Learner, meta: MetaParams, episodes: Episode, steps: int) -> Tensor:
    """Return the trace [T, steps + 1] of each task's support loss; [T, 1] of learners that take no steps."""
    settings = Settings(steps, torch.ones((), device=episodes.query.inputs.device))

    def of_task(support: Support) -> Tensor:
        return learner.adapt(meta, support, settings, NO_NOISE)[1].support_loss

    losses_TS: Tensor = torch.vmap(of_task)(episodes.support)
    return losses_TS


def _padded(episodes: Episode, num_classes: int) -> Episode:
    """Return the tasks with so many masked classes more: a head with a row a class serves smaller tasks that way."""
    support = episodes.support
    return episodes._replace(support=support._replace(class_mask=pad(support.class_mask, (0, num_classes))))


def _quantiles(losses_T: Tensor) -> tuple[float, ...]:
    finite = losses_T[torch.isfinite(losses_T)]
    if 2 * len(finite) < len(losses_T):
        return ()
    found = torch.quantile(finite, torch.linspace(0.0, 1.0, NUM_QUANTILES, dtype=finite.dtype))
    return tuple(float(f"{value:.{DIGITS}g}") for value in found.tolist())
