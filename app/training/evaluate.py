"""How good an initialisation is on tasks set aside: means over tasks and their 95% intervals."""

import math
from collections.abc import Iterable
from typing import NamedTuple

import torch
from torch import Tensor

from app.episode import Episode, MetaParams, Settings
from app.learners.learner import NO_NOISE, Learner, Metrics
from app.training.portions import cached_size, parts

NORMAL_95 = 1.96
"""Half width of a 95% interval in standard errors; the numbers of tasks here are in the hundreds and more."""


class Estimate(NamedTuple):
    """A mean over tasks and half the width of its 95% interval."""

    mean: float
    interval: float


def evaluate(
    learner: Learner, meta: MetaParams, batches: Iterable[Episode], steps: int, rate_scale: float = 1.0
) -> dict[str, Estimate]:
    """Return each metric of the query rows after `steps` inner-loop steps, over all tasks of `batches`."""
    parts = [task_metrics(learner, meta, episodes, steps, rate_scale) for episodes in batches]
    return {name: estimate(torch.cat([part[name] for part in parts])) for name in parts[0]}


@torch.no_grad()
def task_metrics(learner: Learner, meta: MetaParams, episodes: Episode, steps: int, rate_scale: float = 1.0) -> Metrics:
    """Return each metric [T] of the query rows of each task."""
    settings = Settings(steps, torch.tensor(rate_scale, device=episodes.query.inputs.device), traces_end=False)

    def of_task(episode: Episode) -> Metrics:
        task_params, _ = learner.adapt(meta, episode.support, settings, NO_NOISE)
        outputs_QO = learner.predict(meta, task_params, episode.query.inputs)
        return learner.metrics(meta, outputs_QO, episode.query)

    found = [torch.vmap(of_task)(part) for part in parts(episodes, cached_size(episodes))]
    return {name: torch.cat([part[name] for part in found]) for name in found[0]}


def estimate(values_T: Tensor) -> Estimate:
    """Return the mean over tasks with its 95% interval."""
    values_T = values_T.double()
    deviation = float(values_T.std()) if len(values_T) > 1 else math.nan
    return Estimate(float(values_T.mean()), NORMAL_95 * deviation / math.sqrt(len(values_T)))
