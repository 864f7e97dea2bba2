"""What a finished run is worth: its metrics by shots and steps on tasks set aside, and the completed card."""

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

StepTable = list[dict[str, Estimate]]
"""Each metric after 0, 1, 2, ... inner-loop steps."""

EVALUATION_SEED = 1_000_003
"""Far from any training seed, so that sinusoids of evaluation are not those of training."""
TASKS_PER_BATCH = 50
STEPS_SHOWN = 10
"""Steps that a card lists where a caller may take many more."""


def by_step(learner: Learner, meta: MetaParams, distribution: Distribution, num_tasks: int, max_step: int) -> StepTable:
    """Return the metrics over `num_tasks` fresh tasks after each number of steps; the same tasks for each."""
    generator = torch.Generator().manual_seed(EVALUATION_SEED)
    sizes = [min(TASKS_PER_BATCH, num_tasks - start) for start in range(0, num_tasks, TASKS_PER_BATCH)]
    batches = [distribution.sample(generator, size) for size in sizes]
    return [evaluate(learner, meta, batches, steps) for steps in range(max_step + 1)]


def evaluation_tasks(
    tasks: Mapping[str, Any], shots: int, queries: int, split: Split, datasets: Datasets
) -> Distribution:
    """Return the held-out tasks of a training request's `tasks`, at one number of shots."""
    return build_distribution({**tasks, "shots": shots, "queries": queries}, split, datasets)


def steps_to_show(card: Card) -> int:
    """Return up to how many steps a model is evaluated: what it may take, but no more than a table shows."""
    return min(card.max_steps, STEPS_SHOWN) if card.max_steps is not None else 0


def best_steps(tables: Sequence[StepTable]) -> int:
    """Return the number of steps whose score, summed over the tables, is best; at least 1 where there are any."""
    totals = [sum(score(table[step]) for table in tables) for step in range(len(tables[0]))]
    return max(range(min(1, len(totals) - 1), len(totals)), key=totals.__getitem__)


def as_json(table: StepTable) -> dict[str, list[dict[str, float]]]:
    """Return a table as a card keeps it: for each metric a mean and an interval by step."""
    return {
        name: [{"mean": round(step[name].mean, 6), "interval": round(step[name].interval, 6)} for step in table]
        for name in table[0]
    }
