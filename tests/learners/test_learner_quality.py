"""Contract: after a short meta-training, adapting to a task's rows beats not adapting to them."""

import functools

import pytest
import torch

from app.episode import Episode, MetaParams
from app.learners.calibration import TEMPERATURE
from app.learners.learner import Metrics
from app.training.evaluate import task_metrics
from app.training.meta_step import meta_gradient
from tests.learners.answers import STEPS, answer, mapped
from tests.learners.cases import CASES, Case, every_case

ITERATIONS, META_BATCH, META_RATE = 24, 4, 0.01
NUM_TASKS = 64


def starts_from_scratch(case: Case) -> bool:
    """Tell whether a task's start knows nothing of its rows, as it does where a head is made of class means."""
    task_params = answer(case.learner(), case.meta(), case.episode(), steps=0).task_params
    return case.learner().traits.takes_steps and not task_params.keys() - {"class_mask", TEMPERATURE}


STARTING_FROM_SCRATCH = [case for case in CASES if starts_from_scratch(case)]


@every_case
def test_adapting_to_own_rows_beats_adapting_to_those_of_another_task(case: Case) -> None:
    tasks = case.episodes(NUM_TASKS, seed=5)
    others = mapped(lambda leaf: leaf.roll(1, dims=0), tasks.support)
    assert _score(case, tasks) > _score(case, Episode(others, tasks.query, tasks.class_ids))


@pytest.mark.parametrize("case", STARTING_FROM_SCRATCH, ids=str)
def test_steps_beat_no_steps(case: Case) -> None:
    tasks = case.episodes(NUM_TASKS, seed=5)
    assert _score(case, tasks) > _score(case, tasks, steps=0)


@every_case
def test_meta_training_helps(case: Case) -> None:
    tasks = case.episodes(NUM_TASKS, seed=5)
    before = task_metrics(case.learner(), case.meta(), tasks, STEPS)
    assert _score(case, tasks) > _mean(before)


def _score(case: Case, tasks: Episode, steps: int = STEPS) -> float:
    return _mean(task_metrics(case.learner(), _meta_trained(case), tasks, steps))


def _mean(metrics: Metrics) -> float:
    return -float(metrics["loss"].mean())


@functools.cache
def _meta_trained(case: Case) -> MetaParams:
    """Return the initialisation after a few iterations of Adam."""
    learner, meta = case.learner(), case.meta()
    optimizer = torch.optim.Adam(list(meta.trained.values()), lr=META_RATE)
    for i in range(ITERATIONS):
        episodes = case.episodes(META_BATCH, seed=100 + i)
        gradient, _ = meta_gradient(learner, meta, episodes, STEPS, torch.tensor(i / ITERATIONS))
        for name, leaf in meta.trained.items():
            leaf.grad = gradient[name]
        optimizer.step()
    return MetaParams(mapped(torch.Tensor.detach, meta.trained), meta.fixed)
