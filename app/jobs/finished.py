"""What a finished run becomes: a card with metrics by shots and steps on tasks set aside."""

import platform
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import torch

from app.card import Card
from app.episode import MetaParams
from app.jobs.plan import PlannedRun
from app.jobs.report import StepTable, as_json, best_steps, by_step, evaluation_tasks, steps_to_show
from app.task_distributions.distribution import Split
from app.task_distributions.registry import Datasets
from app.training.state import RunState
from innerloop.wire import MetaTrainRequest

CARD_TASKS: dict[Split, int] = {"validation": 300, "test": 600}

Tell = Callable[[Split, int, StepTable], None]
"""(split, shots, table): called with each table as soon as it is there."""


def completed_card(
    planned: PlannedRun,
    request: MetaTrainRequest,
    best: MetaParams,
    datasets: Datasets,
    provenance: dict[str, Any],
    tell: Tell = lambda split, shots, table: None,
) -> Card:
    """Return the planned card with metrics, and with the default steps that validation finds best."""
    tasks = request.tasks.model_dump(exclude_none=True)
    shots = tasks["shots"] if isinstance(tasks["shots"], list) else [tasks["shots"]]
    metrics: dict[str, Any] = {}
    default_steps = None
    for split, num_tasks in CARD_TASKS.items():
        tables = {}
        for k in dict.fromkeys(shots):
            held_out = evaluation_tasks(tasks, k, tasks["queries"], split, datasets)
            tables[k] = by_step(planned.learner, best, held_out, num_tasks, steps_to_show(planned.card))
            tell(split, k, tables[k])
        if split == "validation" and planned.card.default_steps is not None:
            default_steps = best_steps(list(tables.values()))
        metrics[split] = {
            "tasks": num_tasks,
            "queries": tasks["queries"],
            "by_shots_and_step": {str(k): as_json(table) for k, table in tables.items()},
        }
    return planned.card.model_copy(
        update={"default_steps": default_steps, "provenance": provenance, "metrics": metrics}
    )


def provenance_of(request: MetaTrainRequest, state: RunState, device: str, **more: Any) -> dict[str, Any]:
    """Return how a run came about, `more` first."""
    return {
        **more,
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
