"""Runs of a fraction of a second: a learner on sinusoids, and a plan to change a field of."""

from dataclasses import replace
from typing import Any

import torch

from app.episode import MetaParams
from app.learners.learner import Learner
from app.learners.registry import build_learner
from app.networks.registry import build_network
from app.task_distributions.distribution import Distribution
from app.task_distributions.registry import build_distribution
from app.training.plan import TrainingPlan
from app.training.run import Progress, train
from app.training.state import RunState

SINUSOIDS = build_distribution({"kind": "sinusoid"}, "train", {})
CPU = torch.device("cpu")
PLAN = TrainingPlan(
    iterations=40,
    meta_batch_size=8,
    steps=1,
    optimizer="adam",
    meta_learning_rate=0.01,
    learning_rate_schedule="constant",
    clip_norm=10.0,
    validate_every=20,
    patience=None,
    seed=0,
    num_validation_tasks=64,
)
STANDING_STILL = replace(PLAN, optimizer="sgd", meta_learning_rate=1e-30)
"""So small a rate that no weight moves, and no validation is better than the first."""


def sinusoid_learner(**options: Any) -> Learner:
    return build_learner({"kind": "maml", **options}, build_network({"kind": "mlp"}, (1,), 1), "squared", 0)


def run(
    plan: TrainingPlan = PLAN,
    training: Distribution = SINUSOIDS,
    validation: Distribution = SINUSOIDS,
    start: RunState | None = None,
) -> list[tuple[Progress, RunState]]:
    """Return what is told at each iteration that validates, with the state there."""
    told = train(plan, sinusoid_learner(), training, validation, CPU, start)
    return [(progress, progress.state()) for progress in told if progress.validation]


def equal(one: MetaParams, other: MetaParams) -> bool:
    """Tell whether two initialisations are equal to the bit."""
    return all(torch.equal(tree[name], rest[name]) for tree, rest in zip(one, other, strict=True) for name in tree)
