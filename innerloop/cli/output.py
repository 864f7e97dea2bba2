"""Write answers to the terminal, and downloads to files."""

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import typer
from pydantic import BaseModel
from rich.console import Console, RenderableType

Shown = TypeVar("Shown", bound=BaseModel)

# Wider than any table: what reads a pipe wants a row a line.
_PIPE_COLUMNS = 10_000


def show(answer: Shown, as_table: Callable[[Shown], RenderableType], as_json: bool) -> None:
    """Print an answer as a table, or as the JSON that it came as."""
    if as_json:
        typer.echo(answer.model_dump_json(indent=2))
    else:
        _print(as_table(answer))


def show_all(answers: list[Shown], as_table: Callable[[list[Shown]], RenderableType], as_json: bool) -> None:
    """Print a list of answers as one table, or as a JSON array."""
    if as_json:
        typer.echo(json.dumps([answer.model_dump(mode="json") for answer in answers], indent=2))
    else:
        _print(as_table(answers))


def check_writable(path: Path) -> None:
    """Refuse a path that cannot become a file, before anything is asked for."""
    if path.is_dir():
        raise typer.BadParameter(f"{path} is a folder; name a file", param_hint="--out")
    if not path.parent.is_dir():
        raise typer.BadParameter(f"there is no folder {path.parent}", param_hint="--out")


def save(content: bytes, path: Path) -> None:
    """Write a download, wholly or not at all, and say so."""
    part = path.with_name(f"{path.name}.part")
    try:
        part.write_bytes(content)
        part.replace(path)
    except OSError as error:
        raise typer.BadParameter(f"{path} cannot be written: {error.strerror}", param_hint="--out") from error
    typer.echo(f"wrote {len(content)} bytes to {path}")


def _print(table: RenderableType) -> None:
    console = Console()
    if not console.is_terminal and "COLUMNS" not in os.environ:
        console = Console(width=_PIPE_COLUMNS)
    console.print(table)
