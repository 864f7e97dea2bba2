"""Offer `jobs`: start, list, show, watch, cancel, resume, and download checkpoints."""

import json
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from innerloop import tables
from innerloop.cli.lines import REFUSED
from innerloop.cli.options import AsJson, JobId, Out, Url, client_of
from innerloop.cli.output import check_writable, save, show, show_all
from innerloop.client import Client
from innerloop.files import read_json
from innerloop.wire import JobInfo

jobs = typer.Typer(no_args_is_help=True, help="Start, list, show, watch, cancel and resume meta-training jobs.")


@jobs.command("start")
def start_job(
    ctx: typer.Context,
    request: Annotated[Path, typer.Argument(help="Meta-training request in JSON, or - for stdin.")],
    changes: Annotated[
        list[str] | None,
        typer.Option("--set", help="field=value instead of the request's, such as iterations=500 or tasks.shots=5."),
    ] = None,
    url: Url = None,
    as_json: AsJson = False,
) -> None:
    """Start a meta-training job."""
    body = read_json(request)
    if not isinstance(body, dict):
        raise typer.BadParameter(f"{request} is no JSON object", param_hint="REQUEST")
    for change in changes or []:
        _set(body, change)
    with client_of(ctx, url) as client:
        show(client.meta_train(body), tables.job, as_json)


@jobs.command("list")
def list_jobs(ctx: typer.Context, url: Url = None, as_json: AsJson = False) -> None:
    """List the jobs, the newest first."""
    with client_of(ctx, url) as client:
        show_all(list(client.jobs()), tables.jobs, as_json)


@jobs.command("show")
def show_job(ctx: typer.Context, job_id: JobId, url: Url = None, as_json: AsJson = False) -> None:
    """Show a job."""
    with client_of(ctx, url) as client:
        show(client.job(job_id), tables.job, as_json)


@jobs.command("watch")
def watch_job(ctx: typer.Context, job_id: JobId, url: Url = None, as_json: AsJson = False) -> None:
    """Follow a job to its end; the exit status is 0 when it succeeded and 1 otherwise."""
    with client_of(ctx, url) as client:
        _follow(client, job_id)
        ended = client.wait_for_job(job_id)
    if as_json:
        show(ended, tables.job, as_json)
    if ended.status != "succeeded":
        typer.echo(f"error: {_sentence(ended)}", err=True)
        raise typer.Exit(REFUSED)
    if not as_json:
        typer.echo(f"succeeded: {ended.name}@{ended.model_version}")


@jobs.command("cancel")
def cancel_job(ctx: typer.Context, job_id: JobId, url: Url = None, as_json: AsJson = False) -> None:
    """Stop a job; its last checkpoint is kept."""
    with client_of(ctx, url) as client:
        show(client.cancel_job(job_id), tables.job, as_json)


@jobs.command("resume")
def resume_job(ctx: typer.Context, job_id: JobId, url: Url = None, as_json: AsJson = False) -> None:
    """Let a cancelled or failed job go on from its last checkpoint."""
    with client_of(ctx, url) as client:
        show(client.resume_job(job_id), tables.job, as_json)


@jobs.command("checkpoint")
def checkpoint(ctx: typer.Context, job_id: JobId, out: Out, url: Url = None) -> None:
    """Download the last checkpoint of a job."""
    check_writable(out)
    with client_of(ctx, url) as client:
        save(client.checkpoint(job_id), out)


def _follow(client: Client, job_id: str) -> None:
    job = client.job(job_id)
    columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()
    with Progress(*columns, TextColumn("{task.fields[losses]}"), console=Console(stderr=True)) as bar:
        line = bar.add_task(
            f"{job.name}: {job.status}",
            total=job.progress.iterations,
            completed=job.progress.iteration,
            losses=_losses(job.progress.model_dump()),
        )
        for event in client.job_events(job_id):
            status = event.data.get("status")
            if isinstance(status, str):
                bar.update(line, description=f"{job.name}: {status}")
            if event.event == "progress":
                bar.update(line, completed=event.data.get("iteration"), losses=_losses(event.data))


def _losses(progress: dict[str, Any]) -> str:
    shown = {"loss": progress.get("meta_loss"), "validation": progress.get("validation_loss")}
    return " ".join(f"{name} {value:.3g}" for name, value in shown.items() if isinstance(value, int | float))


def _sentence(job: JobInfo) -> str:
    if job.error is not None:
        return f"{job.error.detail} ({job.error.code})"
    return f"job {job.job_id} was {job.status} at iteration {job.progress.iteration} of {job.progress.iterations}"


def _set(body: dict[str, Any], change: str) -> None:
    path, equals, text = change.partition("=")
    *parents, name = path.split(".")
    if not equals or not all([*parents, name]):
        raise typer.BadParameter(f"{change!r} is not field=value", param_hint="--set")
    for parent in parents:
        body = body.setdefault(parent, {})
        if not isinstance(body, dict):
            raise typer.BadParameter(f"{change!r}: {parent} has no fields", param_hint="--set")
    try:
        body[name] = json.loads(text)
    except ValueError:
        body[name] = text  # a word needs no quotes
