"""Offer `tasks`: list, show, delete, and download weights."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from innerloop import tables
from innerloop.cli.options import AsJson, Out, TaskId, Url, client_of
from innerloop.cli.output import check_writable, save, show, show_all
from innerloop.encoding import encode

tasks = typer.Typer(no_args_is_help=True, help="List, show and delete tasks, and take their weights.")


@tasks.command("list")
def list_tasks(
    ctx: typer.Context,
    model: Annotated[str | None, typer.Option(help="Only tasks of this model.")] = None,
    url: Url = None,
    as_json: AsJson = False,
) -> None:
    """List the tasks."""
    with client_of(ctx, url) as client:
        show_all(list(client.tasks(model)), tables.tasks, as_json)


@tasks.command("show")
def show_task(ctx: typer.Context, task_id: TaskId, url: Url = None, as_json: AsJson = False) -> None:
    """Show a task."""
    with client_of(ctx, url) as client:
        show(client.task(task_id), tables.task, as_json)


@tasks.command("support")
def task_support(
    ctx: typer.Context,
    task_id: TaskId,
    out: Annotated[Path, typer.Option(help="JSON file to write, as `adapt` reads it.")],
    revision: Annotated[int | None, typer.Option(help="Revision of the task; else the latest.", min=1)] = None,
    url: Url = None,
) -> None:
    """Download the support rows of a task."""
    check_writable(out)
    with client_of(ctx, url) as client:
        save(encode(client.support(task_id, revision).support.model_dump()), out)


@tasks.command("audit")
def task_audit(
    ctx: typer.Context,
    task_id: Annotated[str | None, typer.Argument(help="Id of the task, there or not; else all.")] = None,
    url: Url = None,
    as_json: AsJson = False,
) -> None:
    """List who did what to a task, the newest first."""
    with client_of(ctx, url) as client:
        show_all(list(client.audit(task_id)), tables.audit, as_json)


@tasks.command("remove-row")
def remove_row(
    ctx: typer.Context,
    task_id: TaskId,
    row: Annotated[int, typer.Argument(help="Its place in the support of the latest revision, from 0.", min=0)],
    if_revision: Annotated[int | None, typer.Option(help="Fail unless this is the task's latest revision.")] = None,
    url: Url = None,
    as_json: AsJson = False,
) -> None:
    """Take a row out of a task: adapt again without it, and delete all older revisions."""
    with client_of(ctx, url) as client:
        show(client.remove_row(task_id, row, if_revision), tables.adaptation, as_json)


@tasks.command("delete")
def delete_task(ctx: typer.Context, task_id: TaskId, url: Url = None) -> None:
    """Delete a task, its weights and its support rows."""
    with client_of(ctx, url) as client:
        client.delete_task(task_id)
    typer.echo(f"deleted {task_id}")


@tasks.command("weights")
def task_weights(
    ctx: typer.Context,
    task_id: TaskId,
    out: Out,
    revision: Annotated[int | None, typer.Option(help="Revision of the task; else the latest.", min=1)] = None,
    form: Annotated[
        Literal["full", "delta"], typer.Option(help="The whole model, or what adaptation changed.")
    ] = "full",
    url: Url = None,
) -> None:
    """Download the adapted weights of a task."""
    check_writable(out)
    with client_of(ctx, url) as client:
        save(client.task_weights(task_id, revision, form), out)
