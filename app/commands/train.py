"""`python -m app train`: meta-train from the command line, into a pair of model files."""

import hashlib
import platform
import shlex
import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import torch
import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from app.card import Card
from app.commands.evaluate import print_table
from app.commands.requests import datasets_from, request_from
from app.jobs.model_files import write_model
from app.jobs.plan import PlannedRun, planned_run
from app.jobs.report import as_json, best_steps, by_step, evaluation_tasks, steps_to_show
from app.task_distributions.distribution import Split
from app.task_distributions.registry import Datasets
from app.training.run import Progress as RunProgress
from app.training.run import TrainingDiverged
from app.training.run import train as run_training
from innerloop.errors import InnerloopError
from innerloop.wire import Limits, MetaTrainRequest

CARD_TASKS: dict[Split, int] = {"validation": 300, "test": 600}
CARD_QUERIES = 15

console = Console(stderr=True)


def train(
    request: Annotated[
        Path | None, typer.Option(help="JSON file with the request, as POST /meta-train takes it.")
    ] = None,
    set_: Annotated[
        list[str] | None,
        typer.Option("--set", help="A field of the request, over the file: learner.kind=maml. Repeatable."),
    ] = None,
    data: Annotated[
        list[str] | None, typer.Option(help="A data set by name: omniglot=images_background.zip. Repeatable.")
    ] = None,
    out: Annotated[Path, typer.Option(help="Folder for the weights and the card.")] = Path("models"),
    device: Annotated[str, typer.Option(help="cpu, cuda, cuda:1 ...")] = "cpu",
    threads: Annotated[int | None, typer.Option(min=1, help="CPU threads of torch; its own choice if absent.")] = None,
) -> None:
    """Meta-train an initialisation and write it, with its card, to a folder.

    The best initialisation by meta-validation is kept. Ctrl-C stops early and keeps it too.
    """
    wanted = request_from(request, set_ or [])
    datasets, paths = datasets_from(data or [])
    if threads:
        torch.set_num_threads(threads)
    try:
        planned = planned_run(wanted, datasets, Limits())
    except InnerloopError as error:
        raise typer.BadParameter(error.detail) from error
    start = time.monotonic()
    best = _run(planned, torch.device(device))
    if best is None or not best.best_iteration:
        console.print("[red]ended without a validation that is finite; nothing was written[/red]")
        raise typer.Exit(1)
    seconds = round(time.monotonic() - start, 1)
    card = _completed(planned, wanted, best, datasets, _provenance(wanted, paths, best, seconds, device))
    assert best.best is not None
    path = write_model(out, card, best.best)
    console.print(f"wrote {path} and its card")


def _run(planned: PlannedRun, device: torch.device) -> RunProgress | None:
    """Train to the end, or to Ctrl-C, and return the last validation."""
    last: RunProgress | None = None
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]}"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console) as bar:
        task = bar.add_task("meta-training", total=planned.plan.iterations, rate="")
        start = time.monotonic()
        try:
            for state in run_training(planned.plan, planned.learner, planned.training, planned.validation, device):
                _show(bar, task, state, planned.plan.meta_batch_size / (time.monotonic() - start))
                last = state if state.validation else last
        except KeyboardInterrupt:
            bar.console.print("stopped early")
        except TrainingDiverged as error:
            bar.console.print(f"[red]{error}[/red]; a lower meta_learning_rate or clip_norm may help")
    return last


def _show(bar: Progress, task: TaskID, state: RunProgress, tasks_per_iteration_second: float) -> None:
    rate = f"{state.iteration * tasks_per_iteration_second:.0f} tasks/s"
    bar.update(task, completed=state.iteration, description=f"meta-loss {state.meta_loss:.4f}", rate=rate)
    if state.validation:
        shown = "  ".join(f"{name} {value.mean:.4f} ± {value.interval:.4f}" for name, value in state.validation.items())
        bar.console.print(f"iteration {state.iteration}: validation {shown}; best at {state.best_iteration}")


def _completed(
    planned: PlannedRun,
    wanted: MetaTrainRequest,
    best: RunProgress,
    datasets: Datasets,
    provenance: dict[str, Any],
) -> Card:
    """Return the card with metrics by shots and steps, and the default steps that validation finds best."""
    assert best.best is not None
    tasks = wanted.tasks.model_dump(exclude_none=True)
    shots = tasks["shots"] if isinstance(tasks["shots"], list) else [tasks["shots"]]
    metrics: dict[str, Any] = {}
    default_steps = None
    for split, num_tasks in CARD_TASKS.items():
        console.print(f"evaluating on {num_tasks} {split} tasks")
        tables = {}
        for k in dict.fromkeys(shots):
            held_out = evaluation_tasks(tasks, k, CARD_QUERIES, split, datasets)
            tables[k] = by_step(planned.learner, best.best, held_out, num_tasks, steps_to_show(planned.card))
            print_table(console, f"{split}, {k} shots", tables[k])
        if split == "validation" and planned.card.default_steps is not None:
            default_steps = best_steps(list(tables.values()))
        metrics[split] = {
            "tasks": num_tasks,
            "queries": CARD_QUERIES,
            "by_shots_and_step": {str(k): as_json(table) for k, table in tables.items()},
        }
    return planned.card.model_copy(
        update={"default_steps": default_steps, "provenance": provenance, "metrics": metrics}
    )


def _provenance(
    wanted: MetaTrainRequest, paths: dict[str, Path], best: RunProgress, seconds: float, device: str
) -> dict[str, Any]:
    return {
        "command": "python -m app " + shlex.join(_without_folders(sys.argv[1:])),
        "request": wanted.model_dump(mode="json", exclude_none=True),
        "data": {
            name: {"file": path.name, "sha256": hashlib.sha256(path.read_bytes()).hexdigest()}
            for name, path in paths.items()
        },
        "seed": wanted.seed,
        "iterations": best.iteration,
        "best_iteration": best.best_iteration,
        "training_seconds": seconds,
        "device": device,
        "torch": torch.__version__,
        "python": platform.python_version(),
        "finished_at": datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
    }


def _without_folders(arguments: list[str]) -> list[str]:
    """Return the arguments with paths outside this folder cut to their file names: a card names no machine."""
    return [
        "=".join(Path(part).name if part.startswith(("/", "..")) else part for part in argument.split("="))
        for argument in arguments
    ]
