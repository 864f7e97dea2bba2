"""Whether a new version is better than the active one: both on the same held-out tasks, by the paired interval."""

from typing import NamedTuple

import torch
from torch import Tensor

from app.card import Card
from app.engine.executor import on_device
from app.episode import MetaParams, Query
from app.learners.learner import Metrics
from app.learners.model import Model
from app.task_distributions.distribution import Distribution
from app.training.evaluate import estimate, task_metrics

PROMOTION_SEED = 2_000_003
"""Far from the seeds of training, of its validations and of evaluation: these tasks chose nothing before."""
NUM_TASKS = 600
TASKS_PER_BATCH = 50


class Comparison(NamedTuple):
    """The mean over tasks of the candidate's score minus the active version's, with half of its 95% interval."""

    score: str
    """`accuracy`, or `minus_loss`: more is better."""
    difference: float
    interval: float
    num_tasks: int

    @property
    def better(self) -> bool:
        """Whether the interval of the difference lies above 0."""
        return self.difference - self.interval > 0


def same_schema(one: Card, other: Card) -> bool:
    """Tell whether callers of one version could call the other."""
    return one.input == other.input and one.output == other.output


def compare(
    candidate: Model, active: Model, tasks: Distribution, device: torch.device, num_tasks: int = NUM_TASKS
) -> Comparison:
    """Return the paired comparison on `num_tasks` fresh tasks; each version takes its own default steps.

    The candidate's loss, in its units, judges the answers of both: a Huber and a squared loss, or losses relative to
    two variances, are not of one size.
    A task whose score is not finite counts as the worst finite score of all minus 1 for whoever has it.
    """
    generator = torch.Generator().manual_seed(PROMOTION_SEED)
    name = "accuracy" if tasks.output_kind == "classification" else "loss"
    models = [_judged_by(candidate, model, device) for model in (candidate, active)]
    scores = []
    for start in range(0, num_tasks, TASKS_PER_BATCH):
        episodes = tasks.sample(generator, min(TASKS_PER_BATCH, num_tasks - start)).to(device)
        metrics = [
            task_metrics(model.learner, model.meta, episodes, model.card.default_steps or 0)[name] for model in models
        ]
        scores.append(torch.stack(metrics).cpu().double())
    scores_2T = torch.cat(scores, dim=1) * (1.0 if name == "accuracy" else -1.0)
    finite_2T = torch.isfinite(scores_2T)
    worst = float(scores_2T[finite_2T].min()) - 1.0 if bool(finite_2T.any()) else 0.0
    scores_2T = torch.where(finite_2T, scores_2T, worst)
    mean, interval = estimate(scores_2T[0] - scores_2T[1])
    return Comparison("accuracy" if name == "accuracy" else "minus_loss", mean, interval, num_tasks)


def _judged_by(judge: Model, model: Model, device: torch.device) -> Model:
    """Return the model on `device`, its outputs, which are in the caller's units, measured as the judge's are."""
    judge = on_device(judge, device)

    def metrics(meta: MetaParams, outputs_QO: Tensor, query: Query) -> Metrics:
        return judge.learner.metrics(judge.meta, outputs_QO, query)

    return on_device(model._replace(learner=model.learner._replace(metrics=metrics)), device)
