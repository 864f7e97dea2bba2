"""Offer `adapt` and `predict`."""

from functools import partial
from pathlib import Path
from typing import Annotated, Literal

import typer

from innerloop import tables
from innerloop.calls import AdaptOptions, PredictOptions
from innerloop.cli.options import (
    AsJson,
    LearningRate,
    LearningRateScale,
    Model,
    OnDivergence,
    Steps,
    Target,
    Url,
    client_of,
)
from innerloop.cli.output import show
from innerloop.files import read_inputs, read_support

SupportFile = Annotated[
    Path,
    typer.Argument(help="JSON, CSV, npz, a folder of class folders with pictures, or - for JSON on stdin."),
]
InputFiles = Annotated[
    list[Path], typer.Argument(help="JSON, CSV, npz, a folder of pictures, pictures, or - for JSON on stdin.")
]


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
    no_estimate: Annotated[
        bool, typer.Option("--no-estimate", help="Save the time of cross-validating the support.")
    ] = False,
    no_store_support: Annotated[
        bool, typer.Option("--no-store-support", help="Keep the adapted weights without the rows.")
    ] = False,
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
    if no_estimate:
        options["estimate"] = False
    if no_store_support:
        options["store_support"] = False
    with client_of(ctx, url) as client:
        show(client.adapt(rows.inputs, rows.targets, **options), tables.adaptation, as_json)


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
    abstain_below: Annotated[
        float | None,
        typer.Option(min=0, max=1, help="Leave out the label of a row whose largest probability is below this."),
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
        "abstain_below": abstain_below,
    }
    if on_divergence is not None:
        options["on_divergence"] = on_divergence
    inputs = read_inputs(input_files, target)
    names = [row.name if isinstance(row, Path) else str(index) for index, row in enumerate(inputs)]
    with client_of(ctx, url) as client:
        show(client.predict(inputs, **options), partial(tables.predictions, names=names), as_json)
