"""What a part of the table leaves: one small JSON file, so that a part that has its file is not run again."""

import json
import math
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

import torch
from pydantic import BaseModel, ConfigDict, ValidationError
from torch import Tensor

from app.training.evaluate import estimate
from benchmarks.results import machine

Role = Literal["baseline", "method", "shipped"]


class CellResult(BaseModel):
    """One method on one cell."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    mean: float | None
    """None where it is not finite."""
    interval: float | None
    """Half the width of the 95% interval over tasks."""
    tasks: int
    steps: list[int] = []
    """Inner-loop steps, for each fold."""
    rate_scales: list[float] = []
    """What inner rates were multiplied by, for each fold."""
    by_task: str
    """The metric of each task, in the order of the tasks, with spaces between: one line of the file."""


class Result(BaseModel):
    """One part: one method on all cells of one comparison."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    comparison: str
    method: str
    role: Role
    minutes: float | None = None
    """The budget; None for what has none."""
    training_seconds: float | None = None
    evaluation_seconds: float | None = None
    iterations: list[int] = []
    best_iterations: list[int] = []
    """For each fold."""
    request: dict[str, Any] | None = None
    training: list[dict[str, Any]] = []
    """What training tasks have over the request's."""
    cells: dict[str, CellResult] = {}
    failed: str | None = None
    """Why there is no figure, where training diverged."""
    date: str = ""
    machine: str = ""


PER_TASK_DIGITS = 5


def cell_result(values_T: Tensor, steps: Iterable[int] = (), rate_scales: Iterable[float] = ()) -> CellResult:
    """Return mean and interval over tasks, with each task's value for comparisons of pairs."""
    found = estimate(values_T)
    finite = math.isfinite(found.mean)
    return CellResult(
        mean=round(found.mean, 6) if finite else None,
        interval=round(found.interval, 6) if math.isfinite(found.interval) else None,
        tasks=len(values_T),
        steps=list(steps),
        rate_scales=list(rate_scales),
        by_task=" ".join(f"{value:.{PER_TASK_DIGITS}g}" for value in values_T.tolist()),
    )


def values_of(cell: CellResult) -> Tensor:
    """Return the metric [T] of each task."""
    return torch.tensor([float(value) for value in cell.by_task.split()], dtype=torch.float64)


def stamped(result: Result) -> Result:
    """Return the result with today's date and this machine's words."""
    return result.model_copy(update={"date": f"{datetime.now(UTC):%Y-%m-%d}", "machine": machine()})


def path_of(folder: Path, comparison: str, method: str) -> Path:
    """Return where a part's result lies."""
    return folder / f"{comparison}-{method}.json"


def write_result(folder: Path, result: Result) -> Path:
    """Write a result, whole or not at all."""
    folder.mkdir(parents=True, exist_ok=True)
    path = path_of(folder, result.comparison, result.method)
    partial = path.with_name(path.name + ".partial")
    partial.write_text(json.dumps(result.model_dump(exclude_defaults=True), indent=2) + "\n", encoding="utf-8")
    partial.replace(path)
    return path


def read_result(folder: Path, comparison: str, method: str) -> Result | None:
    """Return a part's result; None where there is none, ValueError, with the path, for a file that is none."""
    path = path_of(folder, comparison, method)
    if not path.is_file():
        return None
    try:
        return Result.model_validate_json(path.read_bytes())
    except ValidationError as error:
        raise ValueError(f"{path} is no result of the table: {error.errors()[0]['msg']}; delete it") from error
