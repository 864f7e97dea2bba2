"""Offer the service on the command line, as the command `innerloop`."""

from typing import Annotated

import typer

import innerloop
from innerloop.cli.adaptation import adapt, predict
from innerloop.cli.datasets import datasets
from innerloop.cli.jobs import jobs
from innerloop.cli.lines import OneLineErrors
from innerloop.cli.models import models
from innerloop.cli.tasks import tasks

app = typer.Typer(
    cls=OneLineErrors,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Adapt models to a few examples, and predict with them, on an innerloop service.",
)
app.command()(adapt)
app.command()(predict)
app.add_typer(tasks, name="tasks")
app.add_typer(models, name="models")
app.add_typer(datasets, name="datasets")
app.add_typer(jobs, name="jobs")


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"innerloop {innerloop.__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    pass


def main() -> None:
    """Run the command."""
    app()
