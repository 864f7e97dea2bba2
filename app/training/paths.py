"""The path that a run's meta-steps take: eager at first, compiled from the iteration on that its plan names.

The step is compiled while eager ones are taken, and that iteration waits until it is: which path a step takes depends
on the plan and on the state, never on how fast a compiler was. Where there is no compiled form all steps are eager
from there on, and the state says so.
"""

import torch
from torch import Tensor

from app.episode import Episode, MetaParams, Tree
from app.learners.learner import Learner, Metrics
from app.task_distributions.distribution import Distribution
from app.training.meta_step import meta_gradient
from app.training.plan import TrainingPlan
from app.training.state import RunState
from app.training.step_compiler import Compiling, NotCompiled, StepCompiler
from app.training.step_program import CompiledStep

WAIT_SECONDS = 0.2
"""Where a run waits for its compiled step, it says as often where it stands."""
TOLERANCE = 0.01
"""Of a compiled gradient, as a share of its length; 1e-6 is usual, and 1e-3 where features are nearly equal."""


class StepPath:
    """Takes the meta-steps of a run."""

    def __init__(
        self, plan: TrainingPlan, learner: Learner, compiler: StepCompiler | None, start: RunState | None
    ) -> None:
        self._plan, self._learner, self._compiler = plan, learner, compiler
        self.compiled = start.compiled if start else None
        """Whether steps from `plan.compiled_from` on are compiled; None until the first of them."""
        self.compiled_steps = start.compiled_steps if start else 0
        self._compiling: Compiling | None = None
        self._step: CompiledStep | None = None
        self._like: Episode | None = None
        """What the step is compiled for, and compared on."""

    def begin(self, meta: MetaParams, training: Distribution, device: torch.device) -> None:
        """Begin to compile where the run has compiled steps before it; draws from no generator of the run's."""
        if self._plan.compiled_from is None or self.compiled is False:
            return
        if self._compiler is None or device.type != "cpu":
            self._give_up("steps are compiled for the processor alone, by a trainer that has a compiler")
            return
        self._like = training.sample(torch.Generator().manual_seed(self._plan.seed), self._plan.meta_batch_size)
        self._compiling = self._compiler.start(meta, self._like, self._plan.steps)

    def waits(self, iteration: int, meta: MetaParams) -> bool:
        """Tell, after a moment, whether this iteration's step is still to be compiled.

        What was compiled is taken if it gives what the eager step gives at `meta`.
        """
        due = self._plan.compiled_from is not None and iteration >= self._plan.compiled_from
        if not due or self._compiling is None or self._step is not None:
            return False
        try:
            step = self._compiling.result(WAIT_SECONDS)
            if step is not None:
                self._compare(step, meta)
                self._step, self.compiled = step, True
        except NotCompiled as error:
            self._give_up(str(error))
        return self._step is None and self._compiling is not None

    def gradient(
        self, meta: MetaParams, episodes: Episode, progress: Tensor, *, first_order: bool
    ) -> tuple[Tree, Metrics]:
        """Return the meta-gradient and metrics, `meta_loss` among them."""
        if self._step is not None and not first_order and self._step.takes(episodes):
            self.compiled_steps += 1
            return self._step.gradient(meta, episodes, progress)
        return meta_gradient(self._learner, meta, episodes, self._plan.steps, progress, first_order=first_order)

    def close(self) -> None:
        """End what goes on in the background."""
        if self._compiling is not None:
            self._compiling.close()
        if self._step is not None:
            self._step.close()

    def _compare(self, step: CompiledStep, meta: MetaParams) -> None:
        """Raise NotCompiled where a step gives another gradient than the eager one, as far as that is a number."""
        assert self._like is not None
        progress = torch.ones(())
        eager, _ = meta_gradient(self._learner, meta, self._like, self._plan.steps, progress)
        found, _ = step.gradient(meta, self._like, progress)
        length = torch.nn.utils.get_total_norm(eager.values())
        apart = torch.nn.utils.get_total_norm([found[name] - leaf for name, leaf in eager.items()])
        if torch.isfinite(length) and not apart <= TOLERANCE * length:
            step.close()
            raise NotCompiled(f"the compiled gradient differs by {float(apart)} from one of length {float(length)}")

    def _give_up(self, reason: str) -> None:
        self.compiled, self._compiling = False, None
        if self._compiler is not None:
            self._compiler.tell(f"steps are not compiled: {reason}")
