"""Define the arguments and options that several commands take."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from innerloop.client import Client

Url = Annotated[str | None, typer.Option(envvar="INNERLOOP_URL", help="Address of the service.", show_default=False)]
AsJson = Annotated[bool, typer.Option("--json", help="Print the answer as JSON.")]
Model = Annotated[str | None, typer.Option(help="`name` or `name@version`; else the service's default.")]
Steps = Annotated[int | None, typer.Option(help="Adaptation steps; else the model's default.")]
LearningRate = Annotated[float | None, typer.Option(help="Rate of the steps; else the model's.")]
LearningRateScale = Annotated[float | None, typer.Option(help="Multiplies the rates of the model.")]
OnDivergence = Annotated[Literal["error", "best"], typer.Option(help="What to do when adaptation becomes non-finite.")]
Target = Annotated[str | None, typer.Option(help="CSV column with the targets; else the last one.")]
TaskId = Annotated[str, typer.Argument(help="Id of the task.")]
JobId = Annotated[str, typer.Argument(help="Id of the job.")]
ModelName = Annotated[str, typer.Argument(help="Name of the model.")]
Version = Annotated[int, typer.Argument(help="Version of the model.", min=1)]
DatasetName = Annotated[str, typer.Argument(help="Name of the data set.")]
Out = Annotated[Path, typer.Option("--out", help="File to write, as safetensors.")]


def client_of(ctx: typer.Context, url: str | None) -> Client:
    """Return the client of a command.

    The context's object is an httpx transport where a program runs the command.
    """
    return Client(url, transport=ctx.obj)
