"""A training plan: every number that decides what a run computes."""

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class TrainingPlan:
    """How to meta-train; what is trained on what is given beside it."""

    iterations: int
    meta_batch_size: int
    steps: int
    """Inner-loop steps in meta-training and meta-validation."""
    optimizer: Literal["adam", "adamw", "sgd"]
    meta_learning_rate: float
    learning_rate_schedule: Literal["constant", "cosine"]
    clip_norm: float | None
    """Largest norm of the meta-gradient; longer ones are scaled down to it."""
    validate_every: int
    patience: int | None
    """Validations without a better score after which the run stops early; None: never."""
    seed: int
    num_validation_tasks: int = 512
    compiled_from: int | None = None
    """The iteration from which on steps are compiled, where that can be; None: never."""
