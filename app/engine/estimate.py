"""What an adapted task is worth, from its support rows alone: each is judged by a task adapted without it."""

import math
from typing import NamedTuple

import torch
from torch import Tensor

from app.engine.folds import Folds, Method, folds_of
from app.episode import Query, Settings, Support, TaskParams
from app.learners.learner import NO_NOISE
from app.learners.model import Model
from app.trees import num_bytes

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


@torch.no_grad()
def estimate(
    model: Model, support: Support, task_params: TaskParams, steps: int, rate_scale: float, *, device: torch.device
) -> Estimate | None:
    """Return what a task adapted to these rows is worth; None where no row can be left out or a fold diverged.

    `support` has no padding and may lie on any device; `task_params` are what it was adapted to with these settings,
    looked at for what the folds will cost. Each fold is the same support with another row mask, so that many of them
    are one vmap.
    """
    alone = _body_differs(task_params) and model.card.input.kind == "image"
    num_rows = len(support.inputs)
    most_folds = (ROWS_ONE_BY_ONE if alone else ROWS_TOGETHER) // num_rows
    folds = folds_of(support.targets.cpu(), len(support.class_mask), min(MOST_FOLDS, max(2, most_folds)))
    if folds is None:
        return None
    there = Support(*(leaf.to(device) for leaf in support))
    bytes_each = num_bytes(task_params) + num_bytes({"inputs": support.inputs})
    at_once = 1 if alone else max(1, BYTES_TOGETHER // max(1, bytes_each))
    settings = Settings(steps, torch.tensor(rate_scale, device=device), traces_end=False)
    rows, outputs_RO = _judged(model, there, settings, folds, at_once)
    return _scored(model, folds, outputs_RO, Query(there.inputs[rows], there.targets[rows], there.row_mask[rows]))


def _judged(model: Model, support: Support, settings: Settings, folds: Folds, at_once: int) -> tuple[Tensor, Tensor]:
    """Return the rows of all folds and the outputs for them, [R] and [R, O], `at_once` folds together."""

    def of_fold(rows_M: Tensor) -> Tensor:
        row_mask_S = support.row_mask.index_fill(0, rows_M, False)
        params, _ = model.learner.adapt(model.meta, support._replace(row_mask=row_mask_S), settings, NO_NOISE)
        return model.learner.predict(model.meta, params, support.inputs[rows_M])

    rows_KM, counts_KM = folds.rows.to(support.inputs.device), folds.counts.to(support.inputs.device)
    parts = [rows_KM[first : first + at_once] for first in range(0, len(rows_KM), at_once)]
    # vmap of a single fold would still pay for grouped convolutions.
    outputs = [torch.vmap(of_fold)(part) if len(part) > 1 else of_fold(part[0])[None] for part in parts]
    return rows_KM[counts_KM], torch.cat(outputs)[counts_KM]


def _scored(model: Model, folds: Folds, outputs_RO: Tensor, query: Query) -> Estimate | None:
    metrics = {name: float(value) for name, value in model.learner.metrics(model.meta, outputs_RO, query).items()}
    error = None
    if model.learner.traits.output_kind == "regression":
        error = float((outputs_RO - query.targets).square().mean())
    numbers = [metrics["loss"], 0.0 if error is None else error]
    if not all(map(math.isfinite, numbers)) or not bool(torch.isfinite(outputs_RO).all()):
        return None
    found = len(folds.rows), len(query.inputs)
    return Estimate(folds.method, *found, metrics.get("accuracy"), error, metrics["loss"])


def _body_differs(task_params: TaskParams) -> bool:
    """Tell whether tasks see their inputs in ways of their own: then folds share no pass over pictures.

    As grouped convolutions, ten folds of 200 pictures took 40 s where one after the other took 14.
    """
    return any(name.startswith(("body.", "norm.")) for name in task_params)
