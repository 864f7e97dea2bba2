"""Reading what `train` and `evaluate` are given: a request from a file and options, data sets from paths."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import typer
from pydantic import ValidationError

from app.datasets.caps import caps_of
from app.datasets.contents import split_anew
from app.datasets.read import read_dataset
from app.settings import REPOSITORY
from app.task_distributions.dataset import Dataset
from app.task_distributions.registry import Datasets
from innerloop.errors import InnerloopError
from innerloop.wire import DatasetSpec, Limits, MetaTrainRequest

SPEC_SUFFIX = ".spec.json"
SHIPPED_SPECS = REPOSITORY / "models" / "requests"
DATA_HELP = (
    "A data set by name: omniglot=images_background.zip, patients=patients.csv. Repeatable. But for a zip of class "
    "folders, PATH.spec.json beside the file, or else models/requests/NAME.spec.json, says what it holds, as POST "
    "/datasets takes it in `spec`."
)
"""What the option --data says."""


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
        raise typer.BadParameter(_lines(error)) from error


def datasets_from(assignments: Sequence[str]) -> tuple[Datasets, dict[str, Path]]:
    """Return the data sets of `name=path` options, read, and their paths; usage error for one that is none.

    What a file holds is said by the JSON file beside it, `PATH.spec.json`, as POST /datasets takes it in `spec` (its
    name may be left out), and where there is none by the one in `models/requests` that is called as the data set is,
    `NAME.spec.json`: folders of data may be read-only. A zip of class folders does without: it is split by super-class
    where its folders have such, as Omniglot's alphabets are, and else by class.
    """
    paths: dict[str, Path] = {}
    for assignment in assignments:
        name, equals, path = assignment.partition("=")
        if not equals or not Path(path).is_file():
            raise typer.BadParameter(f"{assignment!r} is not of the form name=path with an existing file")
        paths[name] = Path(path)
    return {name: _dataset(name, path) for name, path in paths.items()}, paths


def _dataset(name: str, path: Path) -> Dataset:
    file = _spec_file(name, path)
    body = _read_json(file) if file else {"kind": "labelled"}
    try:
        spec = DatasetSpec.model_validate({**body, "name": name})
        dataset = read_dataset(spec, path, path.name, caps_of(Limits()))
        if file is None and dataset.group_names:
            return split_anew(dataset, "group", spec.split.fractions, spec.split.seed)
        return dataset
    except ValidationError as error:
        raise typer.BadParameter(f"{file.name if file else name}: {_lines(error)}") from error
    except InnerloopError as error:
        raise typer.BadParameter(error.detail) from error


def _spec_file(name: str, path: Path) -> Path | None:
    """Return the file that says what `path` holds; None for a zip, which may do without."""
    beside, shipped = path.with_name(path.name + SPEC_SUFFIX), SHIPPED_SPECS / (name + SPEC_SUFFIX)
    if beside.is_file():
        return beside
    if path.suffix.lower() == ".zip":
        return None
    if Path(name).name == name and shipped.is_file():
        return shipped
    raise typer.BadParameter(
        f"{path} needs a JSON file {beside.name} beside it, or {shipped.name} in models/requests, as POST /datasets "
        "takes in `spec`"
    )


def _lines(error: ValidationError) -> str:
    return "; ".join(f"{'.'.join(map(str, item['loc']))}: {item['msg']}" for item in error.errors())


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
