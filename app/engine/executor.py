"""Running a learner on a device; the only place of serving that moves tensors there and back."""

from typing import NamedTuple

import torch
from torch import Tensor

from app.episode import MetaParams, Query, Settings, Support, TaskParams
from app.learners.learner import NO_NOISE
from app.learners.model import Model
from app.trees import all_finite, to_device
from innerloop.errors import Diverged, NonFiniteOutputs


class Adapted(NamedTuple):
    """A task's parameters and how adaptation went."""

    task_params: TaskParams
    """On the device."""
    support_loss: list[float | None]
    """By step; null after a step that was kept because later ones diverged."""
    kept_step: int | None
    """The step whose parameters these are; None for learners that take none."""


class Judged(NamedTuple):
    """Metrics of labelled rows: at the initialisation, where it has an answer, and with a task's parameters."""

    before: dict[str, float] | None
    after: dict[str, float]


def on_device(model: Model, device: torch.device) -> Model:
    """Return the model with its initialisation on `device`."""
    meta = model.meta
    return model._replace(meta=MetaParams(to_device(meta.trained, device), to_device(meta.fixed, device)))


@torch.no_grad()
def adapt(
    model: Model, support: Support, steps: int, rate_scale: float, *, keep_best: bool, device: torch.device
) -> Adapted:
    """Adapt to a support set that may lie on any device.

    Raises Diverged when a loss or a weight is not finite; with `keep_best` only when no step of 1 or more is.
    """
    there = Support(*(leaf.to(device) for leaf in support))
    params, losses = _adapt(model, there, steps, rate_scale, device)
    taken = steps if model.learner.traits.takes_steps else None
    if _finite(losses) and all_finite(params):
        return Adapted(params, [*losses], taken)
    if not keep_best or taken is None:
        raise Diverged(_diverged(losses, steps))
    for step in _finite_steps_by_loss(losses):
        # Adapting again to a known step costs a few steps, and only in this rare case.
        params, kept_losses = _adapt(model, there, step, rate_scale, device)
        if _finite(kept_losses) and all_finite(params):
            return Adapted(params, [*kept_losses, *[None] * (steps - step)], step)
    raise Diverged(_diverged(losses, steps) + "; no step of 1 or more is finite")


@torch.no_grad()
def predict(model: Model, task_params: TaskParams, inputs_Q: Tensor, *, device: torch.device) -> Tensor:
    """Return the outputs on the CPU: numbers, or the probabilities of all the classes that the model can hold.

    Raises NonFiniteOutputs, naming the first such row.
    """
    outputs_QO = model.learner.predict(model.meta, task_params, inputs_Q.to(device))
    here = model.learner.loss.probabilities(outputs_QO).cpu()
    finite_Q = torch.isfinite(here).all(dim=1)
    if not bool(finite_Q.all()):
        row = int(finite_Q.int().argmin())
        raise NonFiniteOutputs(f"the output of inputs[{row}] is not finite; inputs this large are out of reach")
    return here


@torch.no_grad()
def judge(model: Model, support: Support, task_params: TaskParams, query: Query, *, device: torch.device) -> Judged:
    """Return how well labelled rows are predicted before and after adapting."""
    there = Query(*(leaf.to(device) for leaf in query))
    before = None
    if model.learner.traits.takes_steps:
        untouched, _ = _adapt(model, Support(*(leaf.to(device) for leaf in support)), 0, 1.0, device)
        before = _metrics(model, untouched, there)
    return Judged(before, _metrics(model, task_params, there))


def _adapt(
    model: Model, support: Support, steps: int, rate_scale: float, device: torch.device
) -> tuple[TaskParams, list[float]]:
    settings = Settings(steps, torch.tensor(rate_scale, device=device))
    params, trace = model.learner.adapt(model.meta, support, settings, NO_NOISE)
    return params, trace.support_loss.tolist()


def _metrics(model: Model, task_params: TaskParams, query: Query) -> dict[str, float]:
    outputs_QO = model.learner.predict(model.meta, task_params, query.inputs)
    return {name: float(value) for name, value in model.learner.metrics(model.meta, outputs_QO, query).items()}


def _finite(losses: list[float]) -> bool:
    return all(map(_is_finite, losses))


def _is_finite(loss: float) -> bool:
    return loss - loss == 0.0


def _finite_steps_by_loss(losses: list[float]) -> list[int]:
    steps = [step for step in range(1, len(losses)) if _is_finite(losses[step])]
    return sorted(steps, key=losses.__getitem__)


def _diverged(losses: list[float], steps: int) -> str:
    first = next((step for step, loss in enumerate(losses) if not _is_finite(loss)), None)
    if first is None:
        return f"a weight is not finite after {steps} steps"
    return f"the support loss is not finite after step {first} of {steps}"
