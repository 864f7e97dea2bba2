"""`python -m app evaluate`: how good a model is on tasks set aside, after each inner-loop step."""

import json
from pathlib import Path
from typing import Annotated, Any

import torch
import typer
from rich.console import Console
from rich.table import Table

from app.commands.requests import datasets_from
from app.jobs.model_files import model_of, read_model_files
from app.jobs.report import StepTable, as_json, by_step, evaluation_tasks, steps_to_show
from app.learners.model import Model


def evaluate(
    weights: Annotated[
        Path | None, typer.Argument(help="A model's weights, models/sinusoid.safetensors; its card lies beside.")
    ] = None,
    data: Annotated[list[str] | None, typer.Option(help="A data set by name: omniglot=images_background.zip.")] = None,
    shots: Annotated[list[int] | None, typer.Option(min=1, help="Repeatable; those of its training if absent.")] = None,
    queries: Annotated[int, typer.Option(min=1, help="Query rows a task, or a class.")] = 15,
    tasks: Annotated[int, typer.Option(min=2, help="Number of held-out tasks.")] = 1000,
    step: Annotated[
        list[int] | None, typer.Option(min=0, help="Steps shown. Repeatable; the card's if absent.")
    ] = None,
    split: Annotated[str, typer.Option(help="test, or validation.")] = "test",
    as_json_: Annotated[bool, typer.Option("--json", help="Print JSON in place of tables.")] = False,
    threads: Annotated[int | None, typer.Option(min=1, help="CPU threads of torch.")] = None,
    all_: Annotated[
        bool, typer.Option("--all", help="Make benchmarks/QUALITY.md: each method on each data set, and its plots.")
    ] = False,
    only: Annotated[list[str] | None, typer.Option(help="With --all: a data set of the table. Repeatable.")] = None,
    method: Annotated[list[str] | None, typer.Option(help="With --all: a row of the table. Repeatable.")] = None,
    minutes: Annotated[
        float, typer.Option(min=0.01, max=600, help="With --all: training a method and data set, on the processor.")
    ] = 4.0,
    again: Annotated[bool, typer.Option("--again", help="With --all: also rows that are there.")] = False,
    out: Annotated[Path | None, typer.Option(help="With --all: folder of the page, in place of benchmarks.")] = None,
) -> None:
    """Print the mean and 95% interval of each metric over held-out tasks, after each inner-loop step.

    With --all make the quality table in place of judging one model: it goes on where it stopped.
    """
    if all_ != (weights is None):
        raise typer.BadParameter("name a model's weights, or --all for the quality table, and not both")
    if weights is None:
        _make_table(data or [], only or [], method or [], minutes, again=again, out=out)
        return
    if split not in ("test", "validation"):
        raise typer.BadParameter(f"split is 'test' or 'validation', not {split!r}")
    if threads:
        torch.set_num_threads(threads)
    tables = _tables(weights, data or [], shots, queries, tasks, step, split)
    if as_json_:
        print(json.dumps({str(k): as_json(table) for k, table in tables.items()}, indent=2))
        return
    for k, table in tables.items():
        print_table(Console(), f"{weights.stem}, {split}, {k} shots, {queries} queries, {tasks} tasks", table)


def _make_table(
    data: list[str], only: list[str], methods: list[str], minutes: float, *, again: bool, out: Path | None
) -> None:
    """Run the table's parts; what it needs is imported here, since an image of the service has neither."""
    try:
        from benchmarks.quality.run import FOLDER, run
    except ModuleNotFoundError as error:
        detail = f"{error.name} is not here: --all runs in the repository with the dependency group `bench`"
        raise typer.BadParameter(detail) from error
    try:
        complete = run(data, only, methods, minutes, again=again, folder=out or FOLDER, tell=typer.echo)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from error
    if not complete:
        raise typer.Exit(1)


def print_table(console: Console, title: str, table: StepTable) -> None:
    """Print a row a step."""
    shown = Table(title=title)
    shown.add_column("steps", justify="right")
    for name in next(iter(table.values())):
        shown.add_column(name, justify="right")
    for step, metrics in table.items():
        shown.add_row(str(step), *(f"{value.mean:.4f} ± {value.interval:.4f}" for value in metrics.values()))
    console.print(shown)


def _tables(
    weights: Path,
    data: list[str],
    shots: list[int] | None,
    queries: int,
    tasks: int,
    steps: list[int] | None,
    split: Any,
) -> dict[int, StepTable]:
    datasets, _ = datasets_from(data)
    try:
        model = model_of(read_model_files(weights))
        trained_on = model.card.provenance["request"]["tasks"]
        shown = _steps(model, steps)
        return {
            k: by_step(
                model.learner,
                model.meta,
                evaluation_tasks(trained_on, k, queries, split, datasets),
                tasks,
                shown,
            )
            for k in shots or _shots_of(trained_on)
        }
    except (ValueError, KeyError) as error:
        raise typer.BadParameter(str(error)) from error


def _steps(model: Model, wanted: list[int] | None) -> list[int]:
    most = model.card.max_steps or 0
    if wanted and max(wanted) > most:
        raise ValueError(f"step {max(wanted)} is over what {model.card.name} takes, at most {most}")
    return wanted or steps_to_show(model.card)


def _shots_of(trained_on: dict[str, Any]) -> list[int]:
    shots = trained_on["shots"]
    return list(dict.fromkeys(shots)) if isinstance(shots, list) else [shots]
