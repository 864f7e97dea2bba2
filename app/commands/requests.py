"""Reading what `train` and `evaluate` are given: a request from a file and options, data sets from paths."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import typer
from pydantic import ValidationError

from app.task_distributions.omniglot import read_omniglot
from app.task_distributions.registry import Datasets
from innerloop.wire import MetaTrainRequest


def request_from(file: Path | None, assignments: Sequence[str]) -> MetaTrainRequest:
    """Return the request of `file` with `field.inner=value` assignments on top; usage error when it is none."""
    body: dict[str, Any] = _read_json(file) if file else {}
    for assignment in assignments:
        name, equals, value = assignment.partition("=")
        if not equals:
            raise typer.BadParameter(f"{assignment!r} is not of the form field=value")
        _assign(body, name.split("."), _value_of(value))
    try:
        return MetaTrainRequest.model_validate(body)
    except ValidationError as error:
        lines = [f"{'.'.join(map(str, item['loc']))}: {item['msg']}" for item in error.errors()]
        raise typer.BadParameter("; ".join(lines)) from error


def datasets_from(assignments: Sequence[str]) -> tuple[Datasets, dict[str, Path]]:
    """Return the data sets of `name=path` options, read, and their paths; usage error for one that is none."""
    paths: dict[str, Path] = {}
    for assignment in assignments:
        name, equals, path = assignment.partition("=")
        if not equals or not Path(path).is_file():
            raise typer.BadParameter(f"{assignment!r} is not of the form name=path with an existing file")
        paths[name] = Path(path)
    try:
        return {name: read_omniglot(path) for name, path in paths.items()}, paths
    except ValueError as error:
        raise typer.BadParameter(str(error)) from error


def _read_json(file: Path) -> dict[str, Any]:
    try:
        body = json.loads(file.read_bytes())
    except (OSError, ValueError) as error:
        raise typer.BadParameter(f"{file}: {error}") from error
    if not isinstance(body, dict):
        raise typer.BadParameter(f"{file} holds no JSON object")
    return body


def _value_of(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text


def _assign(body: dict[str, Any], path: list[str], value: Any) -> None:
    for name in path[:-1]:
        body = body.setdefault(name, {})
        if not isinstance(body, dict):
            raise typer.BadParameter(f"{name!r} is not an object")
    body[path[-1]] = value
