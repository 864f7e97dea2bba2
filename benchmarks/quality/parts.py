"""The parts of the table: one method, baseline or shipped model on one data set, each run by itself."""

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import torch

from app.jobs.model_files import model_of, read_model_files
from app.jobs.plan import planned_run
from app.learners.model import Model
from app.task_distributions.registry import Datasets
from benchmarks.quality import baselines, methods
from benchmarks.quality.baselines import BASELINES, PREFIX, baseline_values
from benchmarks.quality.comparisons import Cell, Comparison
from benchmarks.quality.judging import Choice, choices, chosen, fits, values
from benchmarks.quality.methods import METHODS, SHIPPED, Method
from benchmarks.quality.results import CellResult, Result, Role, cell_result, stamped
from benchmarks.quality.tasks import folds, held_out_batches, tuning_batches
from benchmarks.quality.training import Trained, run_of, trained
from benchmarks.results import ROOT
from innerloop.errors import TrainingDiverged
from innerloop.wire import Limits, MetaTrainRequest

MODELS = ROOT / "models"
SHIPPED_PREFIX = "shipped-"


class Part(NamedTuple):
    """A row of the table of one comparison."""

    comparison: Comparison
    name: str
    """As its file and the option --method have it: `maml`, `baseline-logistic`, `shipped-omniglot`."""
    role: Role


def parts_of(comparison: Comparison) -> list[Part]:
    """Return the rows of a comparison, in the order of the page."""
    return [
        *(Part(comparison, PREFIX + name, "baseline") for name in BASELINES[comparison.name]),
        *(Part(comparison, name, "method") for name in METHODS[comparison.name]),
        *(Part(comparison, SHIPPED_PREFIX + name, "shipped") for name in SHIPPED[comparison.name]),
    ]


def name_of(part: Part) -> str:
    """Return what the page calls a part."""
    if part.role == "baseline":
        return baselines.NAMES[part.name.removeprefix(PREFIX)]
    if part.role == "shipped":
        return f"shipped `{part.name.removeprefix(SHIPPED_PREFIX)}`, full training"
    return methods.NAMES.get(part.name, f"`{part.name}`")


def run_part(part: Part, datasets: Datasets, minutes: float, models: Path = MODELS) -> Result:
    """Run one part from the start.

    Raises InvalidRequest and ValueError for what cannot be run: a learner that is not there, data with too few
    classes, a shipped model that is missing. A training that diverges is a result.
    """
    result = Result(comparison=part.comparison.name, method=part.name, role=part.role)
    if part.role == "baseline":
        return stamped(_baseline(part, result, datasets))
    if part.role == "method":
        return stamped(_method(part, result, datasets, minutes))
    return stamped(_shipped(part, result, datasets, models))


def _baseline(part: Part, result: Result, datasets: Datasets) -> Result:
    comparison, name = part.comparison, part.name.removeprefix(PREFIX)
    start = time.process_time()
    cells = {}
    for cell in comparison.cells:
        of_folds = [
            baseline_values(comparison, name, fold, held_out_batches(comparison, cell, fold))
            for fold in folds(comparison, datasets)
        ]
        cells[cell.name] = cell_result(torch.cat(of_folds))
    return result.model_copy(update={"cells": cells, "evaluation_seconds": _since(start)})


def _method(part: Part, result: Result, datasets: Datasets, minutes: float) -> Result:
    comparison, method = part.comparison, METHODS[part.comparison.name][part.name]
    result = result.model_copy(
        update={
            "minutes": minutes,
            "request": dict(method.request),
            "training": [dict(more) for more in method.training],
        }
    )
    seconds = 60.0 * minutes / comparison.num_folds
    try:
        runs = [trained(comparison, part.name, method, fold, seconds) for fold in folds(comparison, datasets)]
    except TrainingDiverged as error:
        return result.model_copy(update={"failed": error.detail})
    return _judged(comparison, _with_runs(result, runs), method, runs, datasets)


def _with_runs(result: Result, runs: list[Trained]) -> Result:
    return result.model_copy(
        update={
            "training_seconds": round(sum(run.seconds for run in runs), 1),
            "iterations": [run.iterations for run in runs],
            "best_iterations": [run.best_iteration for run in runs],
        }
    )


def _judged(comparison: Comparison, result: Result, method: Method, runs: list[Trained], datasets: Datasets) -> Result:
    """Return the result with its cells: how to adapt is chosen for each cell and fold on validation tasks."""

    def choice_of(cell: Cell, fold: Datasets, model: Model) -> Choice:
        possible = choices(model, method)
        batches = tuning_batches(comparison, cell, fold) if len(possible) > 1 else []
        return chosen(comparison, model, possible, batches)

    return _on_cells(comparison, result, [run.model for run in runs], datasets, choice_of)


def _on_cells(
    comparison: Comparison,
    result: Result,
    models: list[Model],
    datasets: Datasets,
    choice_of: Callable[[Cell, Datasets, Model], Choice],
) -> Result:
    start = time.process_time()
    cells: dict[str, CellResult] = {}
    for cell in comparison.cells:
        if not all(fits(model, cell.options.get("ways", 0)) for model in models):
            continue
        pairs = list(zip(models, folds(comparison, datasets), strict=True))
        found = [choice_of(cell, fold, model) for model, fold in pairs]
        of_folds = [
            values(comparison, model, choice, held_out_batches(comparison, cell, fold))
            for choice, (model, fold) in zip(found, pairs, strict=True)
        ]
        steps, scales = zip(*found, strict=True)
        cells[cell.name] = cell_result(torch.cat(of_folds), steps, scales)
    return result.model_copy(update={"cells": cells, "evaluation_seconds": _since(start)})


def _shipped(part: Part, result: Result, datasets: Datasets, models: Path) -> Result:
    """Judge a shipped model at its default steps; one that saw every group is trained anew by its request, by fold."""
    comparison = part.comparison
    model = model_of(read_model_files(models / f"{part.name.removeprefix(SHIPPED_PREFIX)}.safetensors"))
    provenance = model.card.provenance
    result = result.model_copy(
        update={"request": provenance.get("request"), "training_seconds": provenance.get("training_seconds")}
    )
    judged = [model]
    if comparison.num_folds > 1:
        runs = [_full_training(comparison, provenance["request"], fold) for fold in folds(comparison, datasets)]
        judged, result = [run.model for run in runs], _with_runs(result, runs)
    steps = [Choice(one.card.default_steps or 0, 1.0) for one in judged]
    by_model = dict(zip(map(id, judged), steps, strict=True))
    return _on_cells(comparison, result, judged, datasets, lambda cell, fold, one: by_model[id(one)])


def _full_training(comparison: Comparison, request: dict[str, object], datasets: Datasets) -> Trained:
    wanted = MetaTrainRequest.model_validate(request)
    at_hand = {wanted.tasks.model_dump()["dataset"]: datasets[str(comparison.dataset)]}
    return run_of(planned_run(wanted, at_hand, Limits()))


def _since(start: float) -> float:
    return round(time.process_time() - start, 1)


def selected(comparisons: dict[str, Comparison], only: list[str], names: list[str]) -> Iterator[Part]:
    """Yield the parts of these comparisons and methods, all where none is named; ValueError for unknown names."""
    _check("--only", only, list(comparisons))
    wanted = [comparisons[name] for name in only] or list(comparisons.values())
    parts = [part for comparison in wanted for part in parts_of(comparison)]
    _check("--method", names, [part.name for part in parts])
    yield from (part for part in parts if not names or part.name in names)


def _check(option: str, named: list[str], known: list[str]) -> None:
    for name in named:
        if name not in known:
            raise ValueError(f"{option} {name}: there is {', '.join(dict.fromkeys(known))}")
