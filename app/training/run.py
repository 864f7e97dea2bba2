"""A training run: sample, step, validate, keep the best."""

from collections.abc import Iterator
from dataclasses import dataclass

import torch

from app.episode import Episode, MetaParams, Tree
from app.learners.learner import Learner
from app.task_distributions.distribution import Distribution
from app.training.evaluate import Estimate, evaluate
from app.training.meta_step import meta_gradient
from app.training.optimizer import apply_gradient, build_optimizer, outer_rate
from app.training.plan import TrainingPlan

VALIDATION_BATCHES = 8
"""Validation tasks are drawn in so many batches, so that a range of shots is covered."""


class TrainingDiverged(Exception):
    """The meta-loss became NaN or infinite."""


@dataclass(frozen=True)
class Progress:
    """Where a run stands after some iteration."""

    iteration: int
    meta_loss: float
    validation: dict[str, Estimate] | None = None
    """Metrics on the validation tasks, at iterations that validate."""
    best: MetaParams | None = None
    """The best initialisation so far, on the CPU, at iterations that validate."""
    best_iteration: int = 0


def train(
    plan: TrainingPlan,
    learner: Learner,
    training: Distribution,
    validation: Distribution,
    device: torch.device,
    report_every: int = 50,
) -> Iterator[Progress]:
    """Run the plan and yield where it stands every `report_every` iterations and at each validation.

    The last value yielded validates. Raises TrainingDiverged, with the iteration, when a loss is not finite.
    """
    generator = torch.Generator().manual_seed(plan.seed)
    meta = on_device(learner.init(generator), device)
    optimizer = build_optimizer(plan, list(meta.trained.values()))
    held_out = validation_batches(plan, validation, device)
    best, best_score, best_iteration, stale = copied(meta), -float("inf"), 0, 0
    for iteration in range(1, plan.iterations + 1):
        progress = torch.tensor((iteration - 1) / plan.iterations, device=device)
        episodes = _moved(training.sample(generator, plan.meta_batch_size), device)
        gradient, metrics = meta_gradient(learner, meta, episodes, plan.steps, progress)
        for name, leaf in meta.trained.items():
            leaf.grad = gradient[name]
        apply_gradient(optimizer, outer_rate(plan, iteration - 1), plan.clip_norm)
        validates = iteration % plan.validate_every == 0 or iteration == plan.iterations
        if not validates and iteration % report_every:
            continue
        meta_loss = float(metrics["meta_loss"])
        if not torch.isfinite(metrics["meta_loss"]):
            raise TrainingDiverged(f"the meta-loss is {meta_loss} at iteration {iteration}")
        if not validates:
            yield Progress(iteration, meta_loss)
            continue
        estimates = evaluate(learner, meta, held_out, plan.steps)
        stale += 1
        if score(estimates) > best_score:
            best, best_score, best_iteration, stale = copied(meta), score(estimates), iteration, 0
        yield Progress(iteration, meta_loss, estimates, best, best_iteration)
        if plan.patience is not None and stale >= plan.patience:
            return


def score(estimates: dict[str, Estimate]) -> float:
    """Return what validation compares, more is better: accuracy where there is one, else minus the loss."""
    return estimates["accuracy"].mean if "accuracy" in estimates else -estimates["loss"].mean


def validation_batches(plan: TrainingPlan, validation: Distribution, device: torch.device) -> list[Episode]:
    """Return the tasks that every validation of a run uses; they depend on the plan's seed alone."""
    generator = torch.Generator().manual_seed(plan.seed + 1)
    size = max(1, plan.num_validation_tasks // VALIDATION_BATCHES)
    return [_moved(validation.sample(generator, size), device) for _ in range(VALIDATION_BATCHES)]


def on_device(meta: MetaParams, device: torch.device) -> MetaParams:
    """Return the initialisation on `device`."""
    return MetaParams(*({name: leaf.to(device) for name, leaf in tree.items()} for tree in meta))


def copied(meta: MetaParams) -> MetaParams:
    """Return a copy on the CPU that later steps do not change."""
    return MetaParams(*(_copied_tree(tree) for tree in meta))


def _copied_tree(tree: Tree) -> Tree:
    return {name: leaf.detach().cpu().clone() for name, leaf in tree.items()}


def _moved(episodes: Episode, device: torch.device) -> Episode:
    support, query, class_ids = episodes
    return Episode(
        type(support)(*(leaf.to(device) for leaf in support)),
        type(query)(*(leaf.to(device) for leaf in query)),
        class_ids.to(device),
    )
