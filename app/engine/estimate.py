"""What adapted tasks are worth, from their support rows alone: each row is judged by a task adapted without it."""

import math
from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache
from typing import NamedTuple

import torch
from torch import Tensor

from app.engine.executor import Adapted, AdaptWork, stacked
from app.engine.folds import Folds, Method, folds_of
from app.engine.packed import Packed
from app.episode import Query, Settings, Support
from app.learners.learner import NO_NOISE, Metrics
from app.learners.model import Model

MOST_FOLDS = 10
"""As Kohavi 1995 advises: more cost more and estimate no better."""
ROWS_TOGETHER, ROWS_ONE_BY_ONE = 5_000, 500
"""Rows times folds, at most, for folds that share a pass over the rows and for those that do not: a task of many rows
needs fewer folds, since each still adapts on most of them, and its device has other callers."""
BYTES_TOGETHER = 64 * 1024 * 1024
"""Parameters and inputs of the folds that are adapted at once; what is computed of them is a few times as much."""


class Estimate(NamedTuple):
    """What cross-validation found; `accuracy` for classification, `error` for regression."""

    method: Method
    folds: int
    rows: int
    """Rows that were judged."""
    accuracy: float | None
    error: float | None
    """The mean squared error over rows and numbers of a target, in the caller's units."""
    loss: float


EstimateTasks = Callable[[Model, int, Support, Tensor, Tensor, Tensor], Metrics | None]
"""(model, steps, support_T, rates_T, rows_TKM, counts_TKM) -> metrics with a leading task axis, by a faster way than
this module's; None where there is none (yet)."""


class _Judged(NamedTuple):
    """A task with its folds and what they will cost."""

    work: AdaptWork
    folds: Folds
    bytes_of_fold: int
    alone: bool
    """Its folds run one after the other."""


def estimate(work: AdaptWork, params: Packed, device: torch.device) -> Estimate | None:
    """Return what one adapted task is worth, as `estimate_many`; `work.steps` are those that were kept."""
    return estimate_many([work], [Adapted(params, [], work.steps)], device)[0]


@torch.no_grad()
def estimate_many(
    works: Sequence[AdaptWork],
    adapted: Sequence[Adapted | Exception],
    device: torch.device,
    faster: EstimateTasks | None = None,
) -> list[Estimate | None]:
    """Return what tasks of one model, of as many steps each, are worth.

    None where no row can be left out, where a fold diverged, and where adapting failed. Each fold is the same support
    with another row mask, so that the folds of a task are a vmap inside that over tasks, and share what does not
    depend on the mask.
    """
    found: list[Estimate | None] = [None] * len(works)
    together: list[tuple[int, _Judged]] = []
    for i, (work, done) in enumerate(zip(works, adapted, strict=True)):
        judged = None if isinstance(done, Exception) else _to_be_judged(work, done)
        if judged is None:
            continue
        if judged.alone or judged.work.steps != work.steps:
            found[i] = _estimates([judged], device)[0]
        else:
            together.append((i, judged))
    for part in _within_memory(together):
        for (i, _), result in zip(part, _estimates([judged for _, judged in part], device, faster), strict=True):
            found[i] = result
    return found


def _to_be_judged(work: AdaptWork, done: Adapted) -> _Judged | None:
    support, layout = work.support, done.params.layout
    body_differs = any(leaf.name.startswith(("body.", "norm.")) for leaf in layout.leaves)
    # As grouped convolutions, ten folds of 200 pictures took 40 s where one after the other took 14.
    alone = body_differs and work.model.card.input.kind == "image"
    most_folds = (ROWS_ONE_BY_ONE if alone else ROWS_TOGETHER) // len(support.inputs)
    folds = _folds(support, min(MOST_FOLDS, max(2, most_folds)))
    if folds is None:
        return None
    steps = work.steps if done.kept_step is None else done.kept_step
    num_bytes = layout.num_bytes + support.inputs.numel() * support.inputs.element_size()
    return _Judged(work._replace(steps=steps), folds, max(1, num_bytes), alone)


def _folds(support: Support, most_folds: int) -> Folds | None:
    if not len(support.class_mask):
        return _folds_of_numbers(len(support.inputs), most_folds)
    return folds_of(support.targets.cpu(), len(support.class_mask), most_folds)


@lru_cache(1024)
def _folds_of_numbers(num_rows: int, most_folds: int) -> Folds | None:
    return folds_of(torch.zeros(num_rows), 0, most_folds)


def _within_memory(tasks: list[tuple[int, _Judged]]) -> Iterator[list[tuple[int, _Judged]]]:
    """Cut a list of tasks into parts whose folds fit into memory together."""
    part: list[tuple[int, _Judged]] = []
    num_bytes = 0
    for one in tasks:
        more = len(one[1].folds.rows) * one[1].bytes_of_fold
        if part and num_bytes + more > BYTES_TOGETHER:
            yield part
            part, num_bytes = [], 0
        part.append(one)
        num_bytes += more
    if part:
        yield part


def _estimates(
    tasks: Sequence[_Judged], device: torch.device, faster: EstimateTasks | None = None
) -> list[Estimate | None]:
    model, steps = tasks[0].work.model, tasks[0].work.steps
    support_T = stacked([task.work for task in tasks], device)
    rates_T = torch.tensor([task.work.rate_scale for task in tasks], device=device)
    rows_TKM, counts_TKM = (leaf.to(device) for leaf in _stacked_folds([task.folds for task in tasks]))
    at_once = 1 if tasks[0].alone else max(1, BYTES_TOGETHER // max(task.bytes_of_fold for task in tasks))
    scores = None
    if faster and at_once >= rows_TKM.shape[1]:
        scores = faster(model, steps, support_T, rates_T, rows_TKM, counts_TKM)
    if scores is None:
        scores = _judged_tasks(model, steps, support_T, rates_T, rows_TKM, counts_TKM, at_once)
    scores_TX = torch.stack([*scores.values()], dim=1)
    return [
        _as_estimate(task.folds, dict(zip(scores, scores_X, strict=True)))
        for task, scores_X in zip(tasks, scores_TX.tolist(), strict=True)
    ]


def judging_one(model: Model, steps: int) -> Callable[[Support, Tensor, Tensor, Tensor], Metrics]:
    """Return the function of (support, rate_scale, rows_KM, counts_KM) that gives the metrics of one task."""

    def of_task(support: Support, rate: Tensor, rows_KM: Tensor, counts_KM: Tensor) -> Metrics:
        outputs_KMO = _outputs(model, steps, support, rate, _left_out(support.row_mask, rows_KM), rows_KM)
        return _scores(model, support, rows_KM.flatten(), counts_KM.flatten(), outputs_KMO.flatten(0, 1))

    return of_task


def _judged_tasks(
    model: Model,
    steps: int,
    support_T: Support,
    rates_T: Tensor,
    rows_TKM: Tensor,
    counts_TKM: Tensor,
    at_once: int,
) -> Metrics:
    """Return metrics with a leading task axis, of so many folds of each task at once."""
    if len(rates_T) == 1:
        support = Support(*(leaf[0] for leaf in support_T))
        outputs_KMO = torch.cat(
            [
                _outputs(model, steps, support, rates_T[0], _left_out(support.row_mask, rows_kM), rows_kM)
                for rows_kM in torch.split(rows_TKM[0], at_once)
            ]
        )
        scores = _scores(model, support, rows_TKM.flatten(), counts_TKM.flatten(), outputs_KMO.flatten(0, 1))
        return {name: score[None] for name, score in scores.items()}

    def outputs_of(support: Support, rate: Tensor, rows_kM: Tensor) -> Tensor:
        return _outputs(model, steps, support, rate, _left_out(support.row_mask, rows_kM), rows_kM)

    def scores_of(support: Support, rows_R: Tensor, counts_R: Tensor, outputs_RO: Tensor) -> Metrics:
        return _scores(model, support, rows_R, counts_R, outputs_RO)

    outputs_TKMO = torch.cat(
        [torch.vmap(outputs_of)(support_T, rates_T, rows_TkM) for rows_TkM in torch.split(rows_TKM, at_once, 1)], dim=1
    )
    outputs_TRO = outputs_TKMO.flatten(1, 2)
    scores_T: Metrics = torch.vmap(scores_of)(support_T, rows_TKM.flatten(1), counts_TKM.flatten(1), outputs_TRO)
    return scores_T


def _left_out(row_mask_S: Tensor, rows_KM: Tensor) -> Tensor:
    """Return [K, S], the rows that count for each fold."""
    return row_mask_S.expand(len(rows_KM), -1).scatter(1, rows_KM, value=False)


def _outputs(model: Model, steps: int, support: Support, rate: Tensor, masks_KS: Tensor, rows_KM: Tensor) -> Tensor:
    """Return [K, M, O]: what a task adapted without the rows of a fold makes of them."""

    def of_fold(mask_S: Tensor, rows_M: Tensor) -> Tensor:
        settings = Settings(steps, rate, traces_end=False)
        params, _ = model.learner.adapt(model.meta, support._replace(row_mask=mask_S), settings, NO_NOISE)
        return model.learner.predict(model.meta, params, support.inputs[rows_M])

    # vmap of a single fold would still pay for grouped convolutions.
    if len(masks_KS) == 1:
        return of_fold(masks_KS[0], rows_KM[0])[None]
    outputs_KMO: Tensor = torch.vmap(of_fold)(masks_KS, rows_KM)
    return outputs_KMO


def _stacked_folds(folds: Sequence[Folds]) -> tuple[Tensor, Tensor]:
    """Return the folds of tasks as [T, K, M] rows and counts, padded with folds and rows that do not count."""
    if all(one is folds[0] for one in folds):
        return tuple(leaf.expand(len(folds), -1, -1) for leaf in folds[0])  # type: ignore[return-value]
    num_folds, most = (max(one.rows.shape[axis] for one in folds) for axis in (0, 1))
    rows_TKM = torch.zeros(len(folds), num_folds, most, dtype=torch.int64)
    counts_TKM = torch.zeros(len(folds), num_folds, most, dtype=torch.bool)
    for i, (rows_KM, counts_KM) in enumerate(folds):
        num, size = rows_KM.shape
        rows_TKM[i, :num] = rows_KM[:, :1]  # a row of the fold itself, which is left out already
        rows_TKM[i, :num, :size], counts_TKM[i, :num, :size] = rows_KM, counts_KM
    return rows_TKM, counts_TKM


def _scores(model: Model, support: Support, rows_R: Tensor, counts_R: Tensor, outputs_RO: Tensor) -> Metrics:
    """Return the metrics of the rows that count; a task that diverged has NaN in all."""
    diverged = (~torch.isfinite(outputs_RO).all(1) & counts_R).any()
    safe_RO = torch.where(counts_R[:, None], outputs_RO, torch.zeros_like(outputs_RO))
    query = Query(support.inputs[rows_R], support.targets[rows_R], counts_R)
    metrics = {**model.learner.metrics(model.meta, safe_RO, query)}
    if model.learner.traits.output_kind == "regression":
        squares_R = torch.where(counts_R, (safe_RO - query.targets).square().mean(1), 0.0)
        metrics["error"] = squares_R.sum() / counts_R.sum()
    return {name: torch.where(diverged, math.nan, value) for name, value in metrics.items()}


def _as_estimate(folds: Folds, scores: dict[str, float]) -> Estimate | None:
    if not all(map(math.isfinite, scores.values())):
        return None
    rows = int(folds.counts.sum())
    return Estimate(folds.method, len(folds.rows), rows, scores.get("accuracy"), scores.get("error"), scores["loss"])
