"""Running a learner on a device, one task or many; the only place of serving that moves tensors there and back."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from app.engine.packed import Layout, Packed, columns_of, gathered, rows_of, unpack
from app.episode import MetaParams, Query, Settings, Support, TaskParams
from app.learners.learner import NO_NOISE
from app.learners.model import Model
from app.trees import to_device
from innerloop.errors import Diverged, NonFiniteOutputs


class AdaptWork(NamedTuple):
    """One task to be adapted."""

    model: Model
    support: Support
    """Without padding, on any device."""
    steps: int
    """0 for learners that take none."""
    rate_scale: float = 1.0
    keep_best: bool = False
    """On divergence keep the best finite step."""


class Adapted(NamedTuple):
    """A task's parameters and how adaptation went."""

    params: Packed
    """On the device."""
    support_loss: list[float | None]
    """By step; null after a step that was kept because later ones diverged."""
    kept_step: int | None
    """The step whose parameters these are; None for learners that take none."""


class AdaptedTasks(NamedTuple):
    """Tasks of one model that were adapted together."""

    layout: Layout
    rows: Tensor
    """[T, B] uint8, the bytes of each."""
    losses: Tensor
    """[T, K], by step."""
    finite: Tensor
    """[T] bool, whether all losses and parameters of a task are finite."""


AdaptTasks = Callable[[Model, Support, Tensor, int], AdaptedTasks | None]
"""(model, support_T, rates_T, steps) -> what a faster way than this module's gives, None where there is none (yet)."""
PredictTasks = Callable[[Model, Layout, Tensor, Tensor], Tensor | None]
"""(model, layout, rows_TB, inputs_TQ) -> outputs_TQO, or None."""


class Judged(NamedTuple):
    """Metrics of labelled rows: at the initialisation, where it has an answer, and with a task's parameters."""

    before: dict[str, float] | None
    after: dict[str, float]


def on_device(model: Model, device: torch.device) -> Model:
    """Return the model with its initialisation on `device`."""
    meta = model.meta
    return model._replace(meta=MetaParams(to_device(meta.trained, device), to_device(meta.fixed, device)))


def stacked(works: Sequence[AdaptWork], device: torch.device) -> Support:
    """Return the supports of tasks as one, with a leading task axis, padded to the longest and to the most classes."""
    rows = max(len(work.support.inputs) for work in works)
    classes = max(len(work.support.class_mask) for work in works)
    return Support(
        _padded([work.support.inputs for work in works], rows, device),
        _padded([work.support.targets for work in works], rows, device),
        _padded([work.support.row_mask for work in works], rows, device),
        _padded([work.support.class_mask for work in works], classes, device),
    )


@torch.no_grad()
def adapt_many(
    works: Sequence[AdaptWork], support_T: Support, device: torch.device, faster: AdaptTasks | None = None
) -> list[Adapted | Exception]:
    """Adapt tasks of one model, of as many steps each, together; `support_T` is what `stacked` gives of them.

    Each gets its parameters, or Diverged when a loss or a weight is not finite; with `keep_best` only when no step of 1
    or more is.
    """
    model, steps = works[0].model, works[0].steps
    rates_T = torch.tensor([work.rate_scale for work in works], device=device)
    done = faster(model, support_T, rates_T, steps) if faster else None
    if done is None:
        done = _adapted_tasks(model, support_T, rates_T, steps)
    rows, losses, finite = done.rows.unbind(), done.losses.tolist(), done.finite.tolist()
    taken = steps if model.learner.traits.takes_steps else None
    return [
        # Cloned: a task that is kept must not keep its neighbours' bytes.
        Adapted(Packed(done.layout, rows[i].clone()), losses[i], taken)
        if finite[i]
        else _best_finite(work, losses[i], taken, device)
        for i, work in enumerate(works)
    ]


@torch.no_grad()
def predict_many(
    model: Model,
    params: Sequence[Packed],
    inputs: Sequence[Tensor],
    device: torch.device,
    faster: PredictTasks | None = None,
) -> list[Tensor | Exception]:
    """Return each task's outputs on the CPU: numbers, or the probabilities of all the classes that the model can hold.

    The tasks are of one layout. NonFiniteOutputs, naming the first such row, for a task that has one.
    """
    layout = params[0].layout
    sizes = [len(rows) for rows in inputs]
    if all(task.row is params[0].row for task in params):  # one task, whoever asks
        together = (torch.cat(list(inputs)) if len(inputs) > 1 else inputs[0]).to(device)
        outputs_TQO = faster(model, layout, params[0].row[None], together[None]) if faster else None
        alone = _predicted(model, params[0].tree(), together) if outputs_TQO is None else outputs_TQO[0]
        outputs = torch.split(alone.cpu(), sizes)
    else:
        widest = layout.leaves[0].dtype.itemsize if layout.leaves else 1
        inputs_TQ, rows_TB = _padded(inputs, max(sizes), device), gathered([task.row for task in params], widest)
        outputs_TQO = faster(model, layout, rows_TB, inputs_TQ) if faster else None
        if outputs_TQO is None:
            outputs_TQO = _predicted_tasks(model, layout, rows_TB, inputs_TQ)
        outputs_TQO = outputs_TQO.cpu()
        outputs = tuple(task[:size] for task, size in zip(outputs_TQO.unbind(), sizes, strict=True))
        if bool(outputs_TQO.isfinite().all()):
            return list(outputs)
    return [_checked(rows_QO) for rows_QO in outputs]


@torch.no_grad()
def judge(work: AdaptWork, params: Packed, query: Query, device: torch.device) -> Judged:
    """Return how well labelled rows are predicted before and after adapting."""
    model = work.model
    there = Query(*(leaf.to(device) for leaf in query))
    before = None
    if model.learner.traits.takes_steps:
        support_T = stacked([work], device)
        untouched_T, _ = _adapted(model, support_T, torch.ones(1, device=device), 0)
        before = _metrics(model, {name: leaf[0] for name, leaf in untouched_T.items()}, there)
    return Judged(before, _metrics(model, params.tree(), there))


def adapting_one(model: Model, steps: int) -> Callable[[Support, Tensor], tuple[TaskParams, Tensor]]:
    """Return the function of (support, rate_scale) that gives one task's parameters and losses."""

    def of_task(support: Support, rate: Tensor) -> tuple[TaskParams, Tensor]:
        params, trace = model.learner.adapt(model.meta, support, Settings(steps, rate), NO_NOISE)
        return params, trace.support_loss

    return of_task


def predicting_one(model: Model) -> Callable[[TaskParams, Tensor], Tensor]:
    """Return the function of (task_params, inputs_Q) that gives one task's outputs, or probabilities."""
    return lambda params, inputs_Q: _predicted(model, params, inputs_Q)


def finite_tasks(columns: Sequence[Tensor], losses_TK: Tensor) -> Tensor:
    """Tell of each task whether all its losses and parameters are finite; `columns` as in `columns_of`."""
    numbers = [losses_TK, *(column for column in columns if column.is_floating_point())]
    return torch.stack([torch.isfinite(leaf).all(1) for leaf in numbers]).all(0)


def _adapted_tasks(model: Model, support_T: Support, rates_T: Tensor, steps: int) -> AdaptedTasks:
    params_T, losses_TK = _adapted(model, support_T, rates_T, steps)
    layout, columns = columns_of(params_T, len(rates_T))
    return AdaptedTasks(layout, rows_of(columns, len(rates_T)), losses_TK, finite_tasks(columns, losses_TK))


def _adapted(model: Model, support_T: Support, rates_T: Tensor, steps: int) -> tuple[TaskParams, Tensor]:
    """Return parameters and losses with a leading task axis."""
    of_task = adapting_one(model, steps)
    if len(rates_T) > 1:
        params_T, losses_TK = torch.vmap(of_task)(support_T, rates_T)
        return params_T, losses_TK
    # A task alone is not vmapped: that would double the time of a caller who has the device alone.
    params, losses_K = of_task(Support(*(leaf[0] for leaf in support_T)), rates_T[0])
    return {name: leaf[None] for name, leaf in params.items()}, losses_K[None]


def _predicted(model: Model, task_params: TaskParams, inputs_Q: Tensor) -> Tensor:
    return model.learner.loss.probabilities(model.learner.predict(model.meta, task_params, inputs_Q))


def _predicted_tasks(model: Model, layout: Layout, rows_TB: Tensor, inputs_TQ: Tensor) -> Tensor:
    predicted: Tensor = torch.vmap(predicting_one(model))(unpack(layout, rows_TB), inputs_TQ)
    return predicted


def _padded(parts: Sequence[Tensor], length: int, device: torch.device) -> Tensor:
    """Return [T, length, ...] with zeros, or false, behind the shorter parts."""
    if all(len(part) == length for part in parts):
        return torch.stack(list(parts)).to(device)
    padded = parts[0].new_zeros(len(parts), length, *parts[0].shape[1:])
    for place, part in zip(padded, parts, strict=True):
        place[: len(part)] = part
    return padded.to(device)


def _best_finite(work: AdaptWork, losses: list[float], taken: int | None, device: torch.device) -> Adapted | Exception:
    """Return the task as it was after its best step of 1 or more, if that may be kept and there is one."""
    if not work.keep_best or taken is None:
        return Diverged(_diverged(losses, work.steps))
    for step in _finite_steps_by_loss(losses):
        # Adapting again to a known step costs a few steps, and only in this rare case.
        rates_T = torch.tensor([work.rate_scale], device=device)
        done = _adapted_tasks(work.model, stacked([work], device), rates_T, step)
        if done.finite[0]:
            kept = [*done.losses[0].tolist(), *[None] * (work.steps - step)]
            return Adapted(Packed(done.layout, done.rows[0]), kept, step)
    return Diverged(_diverged(losses, work.steps) + "; no step of 1 or more is finite")


def _checked(outputs_QO: Tensor) -> Tensor | Exception:
    finite_Q = torch.isfinite(outputs_QO).all(dim=1)
    if bool(finite_Q.all()):
        return outputs_QO
    row = int(finite_Q.int().argmin())
    return NonFiniteOutputs(f"the output of inputs[{row}] is not finite; inputs this large are out of reach")


def _metrics(model: Model, task_params: TaskParams, query: Query) -> dict[str, float]:
    outputs_QO = model.learner.predict(model.meta, task_params, query.inputs)
    return {name: float(value) for name, value in model.learner.metrics(model.meta, outputs_QO, query).items()}


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
