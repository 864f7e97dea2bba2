"""Offer `datasets`: add, list, show and delete."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import typer
from pydantic import ValidationError

from innerloop import tables
from innerloop.cli.options import AsJson, DatasetName, Url, client_of
from innerloop.cli.output import show, show_all
from innerloop.wire import DatasetSpec

datasets = typer.Typer(no_args_is_help=True, help="Add, list, show and delete data sets to meta-train on.")


@datasets.command("add")
def add_dataset(
    ctx: typer.Context,
    file: Annotated[
        Path, typer.Argument(help="npz, safetensors, CSV, Parquet, a zip of class folders, or a folder of them.")
    ],
    name: Annotated[str, typer.Option(help="Name of the data set.")],
    kind: Annotated[
        Literal["labelled", "grouped"], typer.Option(help="Rows of classes, or rows of tasks such as patients.")
    ],
    targets: Annotated[
        list[str] | None, typer.Option(help="Column or array of the targets; several times for several.")
    ] = None,
    group: Annotated[str | None, typer.Option(help="Column or array that says which rows are one group.")] = None,
    inputs: Annotated[
        list[str] | None, typer.Option("--input", help="Column or array of inputs; else all that are left.")
    ] = None,
    order_by: Annotated[str | None, typer.Option(help="Column of numbers that a table's rows are sorted by.")] = None,
    output: Annotated[
        Literal["regression", "classification"] | None, typer.Option(help="Else what the targets call for.")
    ] = None,
    picture_size: Annotated[int | None, typer.Option(help="Pixels a side that pictures are scaled to.")] = None,
    split_by: Annotated[
        Literal["class", "group"] | None, typer.Option(help="What stays together in training, validation or test.")
    ] = None,
    fractions: Annotated[
        str | None, typer.Option(help="Shares of training, validation and test, such as 0.7,0.15,0.15.")
    ] = None,
    seed: Annotated[int | None, typer.Option(help="Seed of the split.")] = None,
    url: Url = None,
    as_json: AsJson = False,
) -> None:
    """Upload a file, or a folder of class folders with pictures, as a data set; its split is fixed here."""
    spec = _spec(
        {"by": split_by, "fractions": _fractions(fractions), "seed": seed},
        name=name,
        kind=kind,
        inputs=_one_or_more(inputs),
        targets=_one_or_more(targets),
        group=group,
        order_by=order_by,
        output=output,
        picture_size=picture_size,
    )
    with client_of(ctx, url) as client:
        show(client.add_dataset(file, spec), tables.dataset, as_json)


@datasets.command("list")
def list_datasets(ctx: typer.Context, url: Url = None, as_json: AsJson = False) -> None:
    """List the data sets."""
    with client_of(ctx, url) as client:
        show_all(list(client.datasets()), tables.datasets, as_json)


@datasets.command("show")
def show_dataset(ctx: typer.Context, name: DatasetName, url: Url = None, as_json: AsJson = False) -> None:
    """Show a data set."""
    with client_of(ctx, url) as client:
        show(client.dataset(name), tables.dataset, as_json)


@datasets.command("delete")
def delete_dataset(ctx: typer.Context, name: DatasetName, url: Url = None) -> None:
    """Delete a data set that no queued or running job uses."""
    with client_of(ctx, url) as client:
        client.delete_dataset(name)
    typer.echo(f"deleted {name}")


def _spec(split: Mapping[str, Any], **fields: Any) -> DatasetSpec:
    given = {name: value for name, value in fields.items() if value is not None}
    if split := {name: value for name, value in split.items() if value is not None}:
        given["split"] = split
    try:
        return DatasetSpec.model_validate(given)
    except ValidationError as error:
        found = (f"{'.'.join(map(str, item['loc'])) or 'spec'}: {item['msg']}" for item in error.errors())
        raise typer.BadParameter("; ".join(found)) from error


def _fractions(text: str | None) -> list[float] | None:
    if text is None:
        return None
    try:
        return [float(part) for part in text.split(",")]
    except ValueError as error:
        raise typer.BadParameter(f"{text!r} is not three numbers such as 0.7,0.15,0.15") from error


def _one_or_more(names: list[str] | None) -> str | list[str] | None:
    return names[0] if names is not None and len(names) == 1 else names or None
