"""What a finished run becomes: a model with temperatures, references, and metrics on tasks set aside."""

import platform
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from typing import Any

import torch

from app.episode import Support
from app.jobs.references import references
from app.jobs.report import StepTable, as_json, best_steps, by_step, evaluation_tasks, fresh_batches, steps_to_show
from app.learners.calibration import at, log_rows_a_class
from app.learners.model import Model
from app.task_distributions.distribution import Distribution, Split
from app.task_distributions.registry import Datasets
from app.training.calibrate import fitted_temperature
from app.training.state import RunState
from innerloop.wire import MetaTrainRequest

CARD_TASKS: dict[Split, int] = {"validation": 300, "test": 600}
CALIBRATION_SEED = 4_000_003
"""The temperature is fitted on tasks that nothing else looks at, so that the errors on the card are not of its fit."""
CALIBRATION_TASKS = 300
WAYS_SHOWN = (5, 20)
"""At which a card's metrics are listed too, of models that take tasks of any ways."""
TASKS_BY_WAYS = 200

Tell = Callable[[Split, int, StepTable], None]
"""(split, shots, table): called with each table as soon as it is there."""


def completed_model(
    model: Model,
    tasks: Mapping[str, Any],
    datasets: Datasets,
    provenance: dict[str, Any],
    tell: Tell = lambda split, shots, table: None,
) -> Model:
    """Return the trained model with what held-out tasks tell of it, on its card and in its temperature.

    `tasks` is what its training request says of them. Of the card are made: the default steps that validation finds
    best, metrics, and the references of familiarity. The temperatures are leaves of the initialisation.
    """
    held_out = _HeldOut(tasks, datasets)
    model, of_validation = _at_best_steps(model, held_out)
    metrics = {
        "validation": _metrics(model, held_out, "validation", tell, of_validation),
        "test": _metrics(model, held_out, "test", tell, _tables(model, held_out, "test")),
    }
    familiarity = references(model, tasks, datasets)
    changes = {"familiarity": familiarity, "provenance": provenance, "metrics": metrics}
    return model._replace(card=model.card.model_copy(update=changes))


class _HeldOut:
    """The held-out tasks of a training request."""

    def __init__(self, tasks: Mapping[str, Any], datasets: Datasets) -> None:
        self._tasks, self._datasets = tasks, datasets
        self.queries: int = tasks["queries"]
        shots = tasks["shots"] if isinstance(tasks["shots"], list) else [tasks["shots"]]
        self.shots: list[int] = list(dict.fromkeys(shots))
        """The lowest and the highest number, one where they are the same."""

    def at(self, shots: int, split: Split, ways: int | None = None) -> Distribution:
        return evaluation_tasks(self._tasks, shots, self.queries, split, self._datasets, ways)

    def other_ways(self, split: Split) -> Iterator[int]:
        """Yield the ways to show beside the request's own, as far as the split has so many classes."""
        if "ways" in self._tasks and self._tasks["kind"] == "labelled":
            num_classes = self.at(self.shots[0], split).num_classes
            yield from (ways for ways in WAYS_SHOWN if ways <= num_classes and ways != self._tasks["ways"])


def _at_best_steps(model: Model, held_out: _HeldOut) -> tuple[Model, dict[int, StepTable]]:
    """Return the model with its temperatures and the default steps that validation finds best, and those tables.

    Temperatures change no label, so neither the number of steps that is best, by accuracy: only where it is another
    than the one that they were fitted after, both are made again.
    """
    model = _calibrated(model, held_out)
    tables = _tables(model, held_out, "validation")
    steps = None if model.card.default_steps is None else best_steps(list(tables.values()))
    if steps == model.card.default_steps:
        return model, tables
    model = model._replace(card=model.card.model_copy(update={"default_steps": steps}))
    if not model.card.calibrated:
        return model, tables
    model = _calibrated(model, held_out)
    return model, _tables(model, held_out, "validation")


def _calibrated(model: Model, held_out: _HeldOut) -> Model:
    """Return the model with the temperatures that fit the lowest and the highest shots; as it is where it has none."""
    if not model.card.calibrated:
        return model
    points = []
    for shots in held_out.shots:
        batches = fresh_batches(held_out.at(shots, "validation"), CALIBRATION_TASKS, CALIBRATION_SEED)
        found = fitted_temperature(model.learner, model.meta, batches, model.card.default_steps or 0)
        support = Support(*(leaf[0] for leaf in batches[0].support))
        points.append((float(log_rows_a_class(support)), found))
    return model._replace(meta=at(model.meta, [points[0], points[-1]]))


def _tables(model: Model, held_out: _HeldOut, split: Split) -> dict[int, StepTable]:
    """Return a table for each number of shots, at the request's ways."""
    steps, num_tasks = steps_to_show(model.card), CARD_TASKS[split]
    return {
        shots: by_step(model.learner, model.meta, held_out.at(shots, split), num_tasks, steps)
        for shots in held_out.shots
    }


def _metrics(
    model: Model, held_out: _HeldOut, split: Split, tell: Tell, tables: Mapping[int, StepTable]
) -> dict[str, Any]:
    """Return a card's metrics of one split: all steps at the request's ways, and the default steps at other ways."""
    for shots, table in tables.items():
        tell(split, shots, table)
    found = {"tasks": CARD_TASKS[split], "queries": held_out.queries, "by_shots_and_step": _by_shots(tables)}
    if model.learner.traits.any_ways:
        found["by_ways"] = {
            str(ways): {"tasks": TASKS_BY_WAYS, "by_shots_and_step": _at_ways(model, held_out, split, ways)}
            for ways in held_out.other_ways(split)
        }
    return found


def _at_ways(model: Model, held_out: _HeldOut, split: Split, ways: int) -> dict[str, Any]:
    steps = [model.card.default_steps or 0]
    return _by_shots(
        {
            shots: by_step(model.learner, model.meta, held_out.at(shots, split, ways), TASKS_BY_WAYS, steps)
            for shots in held_out.shots
        }
    )


def _by_shots(tables: Mapping[int, StepTable]) -> dict[str, Any]:
    return {str(shots): as_json(table) for shots, table in tables.items()}


def provenance_of(request: MetaTrainRequest, state: RunState, device: str, **more: Any) -> dict[str, Any]:
    """Return how a run came about, `more` first; how many of its steps were compiled, if any were."""
    return {
        **more,
        **({"compiled_steps": state.compiled_steps} if state.compiled_steps else {}),
        "request": request.model_dump(mode="json", exclude_none=True),
        "seed": request.seed,
        "iterations": state.iteration,
        "best_iteration": state.best_iteration,
        "device": device,
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "python": platform.python_version(),
        "finished_at": datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
    }
