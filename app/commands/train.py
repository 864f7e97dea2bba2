"""`python -m app train`: meta-train from the command line, into a pair of model files."""

import hashlib
import shlex
import sys
import time
from pathlib import Path
from typing import Annotated

import torch
import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from app.commands.evaluate import print_table
from app.commands.requests import datasets_from, request_from
from app.jobs.finished import completed_model, provenance_of
from app.jobs.model_files import write_model
from app.jobs.plan import PlannedRun, planned_run
from app.jobs.report import StepTable
from app.learners.model import Model
from app.settings import Settings
from app.task_distributions.distribution import Split
from app.training.memory import keep_memory
from app.training.run import Progress as RunProgress
from app.training.run import train as run_training
from app.training.state import RunState
from app.training.step_compiler import StepCompiler
from innerloop.errors import InnerloopError, TrainingDiverged
from innerloop.wire import Limits

SHOW_EVERY_SECONDS = 0.2

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
    keep_memory()
    try:
        planned = planned_run(wanted, datasets, Limits())
    except InnerloopError as error:
        raise typer.BadParameter(error.detail) from error
    start = time.monotonic()
    state = _run(planned, torch.device(device))
    if state is None or not state.best_iteration:
        console.print("[red]ended without a validation that is finite; nothing was written[/red]")
        raise typer.Exit(1)
    provenance = provenance_of(
        wanted,
        state,
        device,
        command="python -m app " + shlex.join(without_folders(sys.argv[1:])),
        data=_data(paths),
        training_seconds=round(time.monotonic() - start, 1),
    )
    console.print("evaluating on tasks set aside")
    trained = Model(planned.card, planned.learner, state.best)
    model = completed_model(trained, wanted.tasks.model_dump(exclude_none=True), datasets, provenance, _tell)
    path = write_model(out, model.card, model.meta)
    console.print(f"wrote {path} and its card")


def _run(planned: PlannedRun, device: torch.device) -> RunState | None:
    """Train to the end, or to Ctrl-C, and return the state at the last validation."""
    last: RunState | None = None
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]}"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console) as bar:
        task = bar.add_task("meta-training", total=planned.plan.iterations, rate="")
        start = shown = time.monotonic()
        compiler = StepCompiler(planned.card, Settings().data_dir / "compiled" / "training", bar.console.print)
        try:
            for told in run_training(
                planned.plan, planned.learner, planned.training, planned.validation, device, compiler=compiler
            ):
                if told.validation:
                    last = told.state()
                    _show_validation(bar, told, last)
                elif time.monotonic() - shown < SHOW_EVERY_SECONDS:
                    continue
                shown = time.monotonic()
                _show(bar, task, told, planned.plan.meta_batch_size / (shown - start))
        except KeyboardInterrupt:
            bar.console.print("stopped early")
        except TrainingDiverged as error:
            bar.console.print(f"[red]{error.detail}[/red]")
    return last


def _show(bar: Progress, task: TaskID, told: RunProgress, tasks_per_iteration_second: float) -> None:
    rate = f"{told.iteration * tasks_per_iteration_second:.0f} tasks/s"
    bar.update(task, completed=told.iteration, description=f"meta-loss {float(told.meta_loss):.4f}", rate=rate)


def _show_validation(bar: Progress, told: RunProgress, state: RunState) -> None:
    values = told.validation or {}
    shown = "  ".join(f"{name} {value.mean:.4f} ± {value.interval:.4f}" for name, value in values.items())
    bar.console.print(f"iteration {told.iteration}: validation {shown}; best at {state.best_iteration}")


def _tell(split: Split, shots: int, table: StepTable) -> None:
    print_table(console, f"{split}, {shots} shots", table)


def _data(paths: dict[str, Path]) -> dict[str, dict[str, str]]:
    return {
        name: {"file": path.name, "sha256": hashlib.sha256(path.read_bytes()).hexdigest()}
        for name, path in paths.items()
    }


def without_folders(arguments: list[str]) -> list[str]:
    """Return the arguments with paths outside this folder cut to their file names: a card names no machine."""
    return [
        "=".join(Path(part).name if part.startswith(("/", "..")) else part for part in argument.split("="))
        for argument in arguments
    ]
