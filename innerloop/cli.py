"""Offer the service on the command line, as the command `innerloop`."""

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

import typer
from pydantic import BaseModel
from rich.console import Console
from rich.table import Table
from typer.core import TyperGroup

from innerloop import tables
from innerloop.calls import AdaptOptions, PredictOptions
from innerloop.client import Client
from innerloop.errors import InnerloopError
from innerloop.files import read_inputs, read_support

Shown = TypeVar("Shown", bound=BaseModel)


class _ErrorsAsText(TyperGroup):
    """Print an error as one line with its code, and exit with 1."""

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except InnerloopError as error:
            typer.echo(f"error: {error.detail} ({error.code})", err=True)
            for entry in error.errors:
                typer.echo(f"  {'.'.join(map(str, entry['loc']))}: {entry['msg']}", err=True)
            raise typer.Exit(1) from error


app = typer.Typer(
    cls=_ErrorsAsText,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Adapt models to a few examples, and predict with them, on an innerloop service.",
)
tasks_app = typer.Typer(no_args_is_help=True, help="List, show and delete tasks.")
models_app = typer.Typer(no_args_is_help=True, help="List, show and promote models.")
app.add_typer(tasks_app, name="tasks")
app.add_typer(models_app, name="models")

Url = Annotated[str | None, typer.Option(envvar="INNERLOOP_URL", help="Address of the service.", show_default=False)]
AsJson = Annotated[bool, typer.Option("--json", help="Print the answer as JSON.")]
Model = Annotated[str | None, typer.Option(help="`name` or `name@version`; else the service's default.")]
Steps = Annotated[int | None, typer.Option(help="Adaptation steps; else the model's default.")]
LearningRate = Annotated[float | None, typer.Option(help="Rate of the steps; else the model's.")]
LearningRateScale = Annotated[float | None, typer.Option(help="Multiplies the rates of the model.")]
OnDivergence = Annotated[Literal["error", "best"], typer.Option(help="What to do when adaptation becomes non-finite.")]
Target = Annotated[str | None, typer.Option(help="CSV column with the targets; else the last one.")]
TaskId = Annotated[str, typer.Argument(help="Id of the task.")]
ModelName = Annotated[str, typer.Argument(help="Name of the model.")]
SupportFile = Annotated[
    Path,
    typer.Argument(help="JSON, CSV, npz, a folder of class folders with pictures, or - for JSON on stdin."),
]
InputFiles = Annotated[
    list[Path], typer.Argument(help="JSON, CSV, npz, a folder of pictures, pictures, or - for JSON on stdin.")
]


@app.command()
def adapt(
    ctx: typer.Context,
    support_file: SupportFile,
    task_id: Annotated[str | None, typer.Option(help="Id of the task; else the service makes one.")] = None,
    model: Model = None,
    steps: Steps = None,
    learning_rate: LearningRate = None,
    learning_rate_scale: LearningRateScale = None,
    on_divergence: OnDivergence = "error",
    append: Annotated[bool, typer.Option("--append", help="Add the rows to those of the task.")] = False,
    ttl_seconds: Annotated[int | None, typer.Option(help="Forget the task after this time.")] = None,
    forever: Annotated[bool, typer.Option("--forever", help="Never forget the task.")] = False,
    if_revision: Annotated[
        int | None, typer.Option(help="Fail unless this is the task's latest revision; 0: unless it is new.")
    ] = None,
    validation: Annotated[Path | None, typer.Option(help="Rows to score, in a file such as the support.")] = None,
    target: Target = None,
    url: Url = None,
    as_json: AsJson = False,
) -> None:
    """Adapt a model to a support set and keep the result as a task."""
    if forever and ttl_seconds is not None:
        raise typer.BadParameter("give either --ttl-seconds or --forever")
    rows = read_support(support_file, target)
    options: AdaptOptions = {
        "task_id": task_id,
        "model": model,
        "steps": steps,
        "learning_rate": learning_rate,
        "learning_rate_scale": learning_rate_scale,
        "on_divergence": on_divergence,
        "append": append,
        "if_revision": if_revision,
        "validation": None if validation is None else read_support(validation, target),
    }
    if forever or ttl_seconds is not None:
        options["ttl_seconds"] = ttl_seconds
    with _client(ctx, url) as client:
        _show(client.adapt(rows.inputs, rows.targets, **options), tables.adaptation, as_json)


@app.command()
def predict(
    ctx: typer.Context,
    input_files: InputFiles,
    task_id: Annotated[str | None, typer.Option(help="Task to predict with.")] = None,
    revision: Annotated[int | None, typer.Option(help="Revision of the task; else the latest.")] = None,
    support: Annotated[Path | None, typer.Option(help="Adapt on this file instead, and keep nothing.")] = None,
    model: Model = None,
    steps: Steps = None,
    learning_rate: LearningRate = None,
    learning_rate_scale: LearningRateScale = None,
    on_divergence: Annotated[
        Literal["error", "best"] | None, typer.Option(help="What to do when adaptation becomes non-finite.")
    ] = None,
    target: Target = None,
    url: Url = None,
    as_json: AsJson = False,
) -> None:
    """Predict with a task, or from a support set that is not kept."""
    if (task_id is None) == (support is None):
        raise typer.BadParameter("give either --task-id or --support")
    options: PredictOptions = {
        "task_id": task_id,
        "revision": revision,
        "support": None if support is None else read_support(support, target),
        "model": model,
        "steps": steps,
        "learning_rate": learning_rate,
        "learning_rate_scale": learning_rate_scale,
    }
    if on_divergence is not None:
        options["on_divergence"] = on_divergence
    inputs = read_inputs(input_files, target)
    names = [row.name if isinstance(row, Path) else str(index) for index, row in enumerate(inputs)]
    with _client(ctx, url) as client:
        _show(client.predict(inputs, **options), partial(tables.predictions, names=names), as_json)


@tasks_app.command("list")
def list_tasks(
    ctx: typer.Context,
    model: Annotated[str | None, typer.Option(help="Only tasks of this model.")] = None,
    url: Url = None,
    as_json: AsJson = False,
) -> None:
    """List the tasks."""
    with _client(ctx, url) as client:
        _show_all(list(client.tasks(model)), tables.tasks, as_json)


@tasks_app.command("show")
def show_task(ctx: typer.Context, task_id: TaskId, url: Url = None, as_json: AsJson = False) -> None:
    """Show a task."""
    with _client(ctx, url) as client:
        _show(client.task(task_id), tables.task, as_json)


@tasks_app.command("delete")
def delete_task(ctx: typer.Context, task_id: TaskId, url: Url = None) -> None:
    """Delete a task, its weights and its support rows."""
    with _client(ctx, url) as client:
        client.delete_task(task_id)
    typer.echo(f"deleted {task_id}")


@models_app.command("list")
def list_models(ctx: typer.Context, url: Url = None, as_json: AsJson = False) -> None:
    """List the models."""
    with _client(ctx, url) as client:
        _show_all(list(client.models()), tables.models, as_json)


@models_app.command("show")
def show_model(ctx: typer.Context, name: ModelName, url: Url = None, as_json: AsJson = False) -> None:
    """Show a model and its versions."""
    with _client(ctx, url) as client:
        _show(client.model(name), tables.model, as_json)


@models_app.command("promote")
def promote_model(
    ctx: typer.Context,
    name: ModelName,
    version: Annotated[int, typer.Argument(help="Version to make active.")],
    url: Url = None,
    as_json: AsJson = False,
) -> None:
    """Make a version of a model active."""
    with _client(ctx, url) as client:
        _show(client.promote(name, version), tables.model, as_json)


def main() -> None:
    """Run the command."""
    app()


def _client(ctx: typer.Context, url: str | None) -> Client:
    # The context's object is an httpx transport where a program runs the command.
    return Client(url, transport=ctx.obj)


def _show(answer: Shown, as_table: Callable[[Shown], Table], as_json: bool) -> None:
    if as_json:
        typer.echo(answer.model_dump_json(indent=2))
    else:
        Console().print(as_table(answer))


def _show_all(answers: list[Shown], as_table: Callable[[list[Shown]], Table], as_json: bool) -> None:
    if as_json:
        typer.echo(json.dumps([answer.model_dump(mode="json") for answer in answers], indent=2))
    else:
        Console().print(as_table(answers))
