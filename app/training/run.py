"""A training run: sample, step, validate, keep the best; it can stop after any iteration and go on from there."""

import contextlib
import math
from collections.abc import Callable, Generator
from dataclasses import dataclass

import torch
from torch import Tensor

from app.episode import Episode, MetaParams
from app.learners.learner import Learner
from app.task_distributions.distribution import Distribution
from app.training.evaluate import Estimate, evaluate
from app.training.optimizer import apply_gradient, build_optimizer, outer_rate
from app.training.paths import StepPath
from app.training.plan import TrainingPlan
from app.training.state import RunState, optimizer_tree, restore_optimizer
from app.training.step_compiler import StepCompiler
from innerloop.errors import TrainingDiverged

VALIDATION_BATCHES = 8
"""Validation tasks are drawn in so many batches, so that a range of shots is covered."""
MAX_LOST = 10
"""Meta-batches in a row that are not finite before a run is said to diverge. A single task on which the inner loop
explodes makes one such; its step is left out."""


@dataclass(frozen=True)
class Progress:
    """Where a run stands after some iteration."""

    iteration: int
    meta_loss: Tensor
    """[], on the device, so that nobody waits for it who does not look."""
    validation: dict[str, Estimate] | None
    """Metrics on the validation tasks, at iterations that validate."""
    state: Callable[[], RunState]
    """A copy of the run's state, as long as the run has not been asked for its next iteration."""


def train(
    plan: TrainingPlan,
    learner: Learner,
    training: Distribution,
    validation: Distribution,
    device: torch.device,
    start: RunState | None = None,
    compiler: StepCompiler | None = None,
) -> Generator[Progress]:
    """Run the plan, from `start` where there is one, and yield where it stands after each iteration.

    The last iteration validates. Nothing is yielded when `start` is a run's end. A meta-batch whose loss or gradient is
    not finite moves nothing; TrainingDiverged, with the iteration, after MAX_LOST of them in a row. Where the plan has
    compiled steps, the run yields again where it stands while it waits for `compiler`; without one they are eager.
    """
    path = StepPath(plan, learner, compiler, start)
    run = _Run(plan, learner, device, start, path)
    held_out = validation_batches(plan, validation, device)
    meta_loss = torch.tensor(math.nan)
    with contextlib.closing(path):
        path.begin(run.meta, training, device)
        for iteration in range(run.iteration + 1, plan.iterations + 1):
            if plan.patience is not None and run.stale >= plan.patience:
                return
            while path.waits(iteration, run.meta):
                yield Progress(iteration - 1, meta_loss, None, run.state)
            meta_loss = run.step(iteration, training)
            estimates = None
            if iteration % plan.validate_every == 0 or iteration == plan.iterations:
                estimates = evaluate(learner, run.meta, held_out, plan.steps)
                run.keep_best(estimates)
            yield Progress(iteration, meta_loss, estimates, run.state)


class _Run:
    """What changes from one iteration to the next."""

    def __init__(
        self, plan: TrainingPlan, learner: Learner, device: torch.device, start: RunState | None, path: StepPath
    ) -> None:
        self._plan, self._learner, self._device, self._path = plan, learner, device, path
        self._generator = torch.Generator().manual_seed(plan.seed)
        self.meta = _on_device(start.meta if start else learner.init(self._generator), device)
        self._optimizer = build_optimizer(plan, list(self.meta.trained.values()))
        self.iteration, self.stale, self._lost = 0, 0, 0
        self._best, self._best_score, self._best_iteration = _copied(self.meta), -float("inf"), 0
        if start:
            self._generator.set_state(start.generator)
            restore_optimizer(self._optimizer, self.meta.trained, start.optimizer)
            self.iteration, self.stale, self._lost = start.iteration, start.stale, start.lost
            self._best, self._best_score = start.best, start.best_score
            self._best_iteration = start.best_iteration

    def step(self, iteration: int, training: Distribution) -> Tensor:
        """Take one meta-step and return its meta-loss []."""
        plan, done = self._plan, (iteration - 1) / self._plan.iterations
        episodes = training.sample(self._generator, plan.meta_batch_size).to(self._device)
        progress = torch.tensor(done, device=self._device)
        first_order = done < self._learner.traits.first_order_share
        gradient, metrics = self._path.gradient(self.meta, episodes, progress, first_order=first_order)
        meta_loss = metrics["meta_loss"]
        self.iteration = iteration
        if not torch.isfinite(meta_loss + torch.nn.utils.get_total_norm(gradient.values())):
            self._lose(meta_loss)
            return meta_loss
        self._lost = 0
        for name, leaf in self.meta.trained.items():
            leaf.grad = gradient[name]
        apply_gradient(self._optimizer, outer_rate(plan, iteration - 1), plan.clip_norm)
        return meta_loss

    def _lose(self, meta_loss: Tensor) -> None:
        """Count a meta-batch whose loss or gradient is not finite; TrainingDiverged when they are too many."""
        self._lost += 1
        if self._lost == MAX_LOST:
            raise TrainingDiverged(
                f"from iteration {self.iteration - MAX_LOST + 1} on the meta-loss or its gradient was not finite "
                f"(the loss is {float(meta_loss)}); a lower meta_learning_rate, a lower inner learning_rate or a lower "
                "clip_norm may help"
            )

    def keep_best(self, estimates: dict[str, Estimate]) -> None:
        """Remember the initialisation if no validation before was as good."""
        self.stale += 1
        if score(estimates) > self._best_score:
            self._best, self._best_score = _copied(self.meta), score(estimates)
            self._best_iteration, self.stale = self.iteration, 0

    def state(self) -> RunState:
        """Return a copy that later iterations do not change."""
        return RunState(
            iteration=self.iteration,
            meta=_copied(self.meta),
            optimizer=optimizer_tree(self._optimizer, self.meta.trained),
            generator=self._generator.get_state(),
            best=self._best,
            best_score=self._best_score,
            best_iteration=self._best_iteration,
            stale=self.stale,
            lost=self._lost,
            compiled=self._path.compiled,
            compiled_steps=self._path.compiled_steps,
        )


def score(estimates: dict[str, Estimate]) -> float:
    """Return what validation compares, more is better: accuracy where there is one, else minus the loss."""
    return estimates["accuracy"].mean if "accuracy" in estimates else -estimates["loss"].mean


def validation_batches(plan: TrainingPlan, validation: Distribution, device: torch.device) -> list[Episode]:
    """Return the tasks that every validation of a run uses; they depend on the plan's seed alone."""
    generator = torch.Generator().manual_seed(plan.seed + 1)
    size = max(1, plan.num_validation_tasks // VALIDATION_BATCHES)
    return [validation.sample(generator, size).to(device) for _ in range(VALIDATION_BATCHES)]


def _on_device(meta: MetaParams, device: torch.device) -> MetaParams:
    """Return a copy on `device`, which the optimiser may change.

    Leaves are in the order of their names, since the norm of the meta-gradient is a sum over them: a file may give
    them back in another order, and another order is another last digit.
    """
    return MetaParams(*({name: tree[name].to(device, copy=True) for name in sorted(tree)} for tree in meta))


def _copied(meta: MetaParams) -> MetaParams:
    """Return a copy on the CPU that later steps do not change."""
    return MetaParams(*({name: leaf.detach().cpu().clone() for name, leaf in tree.items()} for tree in meta))
