"""What a finished run is worth: its metrics by shots and steps on tasks set aside, and the completed card."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch

from app.card import Card
from app.episode import MetaParams
from app.learners.learner import Learner
from app.task_distributions.distribution import Distribution, Split
from app.task_distributions.registry import Datasets, build_distribution
from app.training.evaluate import Estimate, evaluate
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
    """Return the metrics over `num_tasks` fresh tasks after each number of steps; the same tasks for each."""
    generator = torch.Generator().manual_seed(EVALUATION_SEED)
    sizes = [min(TASKS_PER_BATCH, num_tasks - start) for start in range(0, num_tasks, TASKS_PER_BATCH)]
    batches = [distribution.sample(generator, size) for size in sizes]
    return {step: evaluate(learner, meta, batches, step) for step in steps}


def evaluation_tasks(
    tasks: Mapping[str, Any], shots: int, queries: int, split: Split, datasets: Datasets
) -> Distribution:
    """Return the held-out tasks of a training request's `tasks`, at one number of shots."""
    return build_distribution({**tasks, "shots": shots, "queries": queries}, split, datasets)


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
