"""What a finished run is worth: its metrics by shots and steps on tasks set aside, and the completed card."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch

from app.card import Card
from app.episode import Episode, MetaParams
from app.learners.learner import Learner
from app.task_distributions.distribution import Distribution, Split
from app.task_distributions.registry import Datasets, build_distribution
from app.training.calibrate import BINS, CALIBRATION_ERROR, binning, calibration_error
from app.training.evaluate import Estimate, estimate, task_metrics
from app.training.portions import portions
from app.training.run import score

StepTable = dict[int, dict[str, Estimate]]
"""Each metric by the number of inner-loop steps."""

EVALUATION_SEED = 1_000_003
"""Far from any training seed, so that sinusoids of evaluation are not those of training."""
TASKS_PER_BATCH = 50
STEPS_SHOWN = (0, 1, 2, 3, 5, 10)
"""Steps that a card lists, as far as its model takes them."""


def by_step(
    learner: Learner, meta: MetaParams, distribution: Distribution, num_tasks: int, steps: Sequence[int]
) -> StepTable:
    """Return the metrics over `num_tasks` fresh tasks after each number of steps; the same tasks for each.

    Of classes there is the calibration error too, of all rows together.
    """
    batches = fresh_batches(distribution, num_tasks, EVALUATION_SEED)
    return {step: _judged(binning(learner), meta, batches, step) for step in steps}


def fresh_batches(distribution: Distribution, num_tasks: int, seed: int) -> list[Episode]:
    """Return `num_tasks` tasks that depend on the seed alone, in batches."""
    generator = torch.Generator().manual_seed(seed)
    sizes = [min(TASKS_PER_BATCH, num_tasks - start) for start in range(0, num_tasks, TASKS_PER_BATCH)]
    return [distribution.sample(generator, size) for size in sizes]


def _judged(learner: Learner, meta: MetaParams, batches: Sequence[Episode], steps: int) -> dict[str, Estimate]:
    parts = [task_metrics(learner, meta, portion, steps) for batch in batches for portion in portions(batch)]
    metrics = {name: torch.cat([part[name] for part in parts]) for name in parts[0]}
    bins_TB3 = metrics.pop(BINS, None)
    found = {name: estimate(values_T) for name, values_T in metrics.items()}
    return found if bins_TB3 is None else {**found, CALIBRATION_ERROR: calibration_error(bins_TB3)}


def evaluation_tasks(
    tasks: Mapping[str, Any],
    shots: int,
    queries: int,
    split: Split,
    datasets: Datasets,
    ways: int | None = None,
) -> Distribution:
    """Return the held-out tasks of a training request's `tasks`, at one number of shots and, if named, of ways."""
    changes = {"shots": shots, "queries": queries, **({} if ways is None else {"ways": ways})}
    return build_distribution({**tasks, **changes}, split, datasets)


def steps_to_show(card: Card) -> list[int]:
    """Return after which steps a model is evaluated."""
    return [step for step in STEPS_SHOWN if step <= (card.max_steps or 0)]


def best_steps(tables: Sequence[StepTable]) -> int:
    """Return the number of steps whose score, summed over the tables, is best; at least 1 where there are any."""
    candidates = [step for step in tables[0] if step] or [0]
    return max(candidates, key=lambda step: _or_worst(sum(score(table[step]) for table in tables)))


def _or_worst(total: float) -> float:
    return -math.inf if math.isnan(total) else total


def as_json(table: StepTable) -> dict[str, dict[str, dict[str, float]]]:
    """Return a table as a card keeps it: by step, for each metric, the mean and half of its 95% interval."""
    return {
        str(step): {
            name: {"mean": round(value.mean, 6), "interval": round(value.interval, 6)}
            for name, value in metrics.items()
        }
        for step, metrics in table.items()
    }
