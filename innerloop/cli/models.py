"""Offer `models`: list, show, promote, upload, delete, and download weights."""

from pathlib import Path
from typing import Annotated

import typer

from innerloop import tables, wire
from innerloop.cli.options import AsJson, ModelName, Out, Url, Version, client_of
from innerloop.cli.output import check_writable, save, show, show_all
from innerloop.encoding import read_bytes

models = typer.Typer(no_args_is_help=True, help="List, show and promote models, and take or bring their weights.")


@models.command("list")
def list_models(ctx: typer.Context, url: Url = None, as_json: AsJson = False) -> None:
    """List the models."""
    with client_of(ctx, url) as client:
        show_all(list(client.models()), tables.models, as_json)


@models.command("show")
def show_model(ctx: typer.Context, name: ModelName, url: Url = None, as_json: AsJson = False) -> None:
    """Show a model and its versions."""
    with client_of(ctx, url) as client:
        show(client.model(name), tables.model, as_json)


@models.command("promote")
def promote_model(
    ctx: typer.Context,
    name: ModelName,
    version: Version,
    url: Url = None,
    as_json: AsJson = False,
) -> None:
    """Make a version of a model active."""
    with client_of(ctx, url) as client:
        show(client.promote(name, version), tables.model, as_json)


@models.command("authority")
def model_authority(
    ctx: typer.Context,
    name: ModelName,
    authority: Annotated[wire.Authority, typer.Argument(help="weights, or rows: adapt again when they are needed.")],
    url: Url = None,
    as_json: AsJson = False,
) -> None:
    """Choose what is stored of tasks adapted from now on: their weights too, or their rows alone."""
    with client_of(ctx, url) as client:
        show(client.set_authority(name, authority), tables.model, as_json)


@models.command("weights")
def model_weights(ctx: typer.Context, name: ModelName, version: Version, out: Out, url: Url = None) -> None:
    """Download the initialisation of a version, with its card."""
    check_writable(out)
    with client_of(ctx, url) as client:
        save(client.model_weights(name, version), out)


@models.command("upload")
def upload_model_version(
    ctx: typer.Context,
    name: ModelName,
    file: Annotated[Path, typer.Argument(help="Safetensors file with its card, as `models weights` writes.")],
    url: Url = None,
    as_json: AsJson = False,
) -> None:
    """Upload a file as a new version of a model; promote makes it active."""
    content = read_bytes(file)
    with client_of(ctx, url) as client:
        show(client.upload_model_version(name, content), tables.version, as_json)


@models.command("delete")
def delete_model_version(ctx: typer.Context, name: ModelName, version: Version, url: Url = None) -> None:
    """Delete a version that no task uses: not the active one of several; the last one takes the model along."""
    with client_of(ctx, url) as client:
        client.delete_model_version(name, version)
    typer.echo(f"deleted {name}@{version}")
