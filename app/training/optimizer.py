"""The outer loop's optimiser and the schedule of its rate."""

import math

import torch
from torch import Tensor

from app.training.plan import TrainingPlan


def build_optimizer(plan: TrainingPlan, leaves: list[Tensor]) -> torch.optim.Optimizer:
    """Return the optimiser that the plan names over `leaves`."""
    rate = plan.meta_learning_rate
    if plan.optimizer == "adam":
        return torch.optim.Adam(leaves, lr=rate, fused=True)
    if plan.optimizer == "adamw":
        return torch.optim.AdamW(leaves, lr=rate, fused=True)
    return torch.optim.SGD(leaves, lr=rate, momentum=0.9, nesterov=True)


def outer_rate(plan: TrainingPlan, iteration: int) -> float:
    """Return the meta-learning rate of one iteration: constant, or half a cosine from its value down to 0."""
    if plan.learning_rate_schedule == "constant":
        return plan.meta_learning_rate
    return plan.meta_learning_rate * 0.5 * (1.0 + math.cos(math.pi * iteration / plan.iterations))


def apply_gradient(optimizer: torch.optim.Optimizer, rate: float, clip_norm: float | None) -> None:
    """Take one step at `rate` on the gradients that the leaves hold, clipped together to `clip_norm`."""
    for group in optimizer.param_groups:
        group["lr"] = rate
        if clip_norm is not None:
            torch.nn.utils.clip_grad_norm_(group["params"], clip_norm)
    optimizer.step()
