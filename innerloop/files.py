"""Read support sets and inputs from JSON, CSV and npz files, and from folders of pictures."""

import json
import sys
import zipfile
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from innerloop.csv_rows import read_csv_inputs, read_csv_support
from innerloop.encoding import Rows, read_bytes
from innerloop.errors import UnreadableFile

PICTURES = {".png", ".jpg", ".jpeg"}
STDIN = Path("-")


class Support(NamedTuple):
    """Hold rows and what they are answered with."""

    inputs: Rows
    targets: Rows


def read_support(path: Path, target: str | None = None) -> Support:
    """Read inputs and targets: `.json`, `.csv`, `.npz`, a folder of class folders, or `-` for JSON on stdin.

    `target` names the column of a CSV file that holds the targets. Raises `UnreadableFile`.
    """
    _check_is_there(path)
    if path.is_dir():
        return _class_folders(path)
    if path.suffix.lower() in PICTURES:
        raise UnreadableFile(f"{path} is one picture; give the folder that holds a folder of pictures a class")
    if path.suffix.lower() == ".csv":
        return Support(*read_csv_support(path, target))
    if path.suffix.lower() == ".npz":
        arrays = _arrays(path, ("inputs", "targets"))
        return Support(
            _as_text(arrays["inputs"], path, "the sentences in inputs"),
            _as_text(arrays["targets"], path, "the class names in targets"),
        )
    content = read_json(path)
    if not isinstance(content, dict) or not {"inputs", "targets"} <= content.keys():
        raise UnreadableFile(f'{_name(path)} is not {{"inputs": [...], "targets": [...]}}')
    return Support(content["inputs"], content["targets"])


def read_inputs(paths: Sequence[Path], target: str | None = None) -> Rows:
    """Read inputs alone: one file as for `read_support`, one folder of pictures, or any number of pictures.

    JSON may also be a bare list, and CSV have no targets. Raises `UnreadableFile`.
    """
    for path in paths:
        _check_is_there(path)
    if all(path.suffix.lower() in PICTURES and not path.is_dir() for path in paths):
        return list(paths)
    if len(paths) > 1:
        raise UnreadableFile("several inputs have to be PNG or JPEG pictures, all of them")
    path = paths[0]
    if path.is_dir():
        return _query_pictures(path)
    if path.suffix.lower() == ".csv":
        return read_csv_inputs(path, target)
    if path.suffix.lower() == ".npz":
        return _as_text(_arrays(path, ("inputs",))["inputs"], path, "the sentences in inputs")
    content = read_json(path)
    inputs = content.get("inputs") if isinstance(content, dict) else content
    if not isinstance(inputs, list):
        raise UnreadableFile(f'{_name(path)} is neither a list of rows nor {{"inputs": [...]}}')
    return inputs


def read_json(path: Path) -> Any:
    """Read a `.json` file, or `-` for stdin; raises `UnreadableFile`."""
    _check_is_there(path)
    if path != STDIN and path.suffix.lower() != ".json":
        raise UnreadableFile(f"{path} is none of .json, .csv, .npz, a picture or a folder")
    text = sys.stdin.buffer.read() if path == STDIN else read_bytes(path)
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        raise UnreadableFile(f"{_name(path)}, line {error.lineno}: not JSON: {error.msg}") from error
    except (UnicodeDecodeError, ValueError, RecursionError) as error:
        raise UnreadableFile(f"{_name(path)} is not JSON: {error}") from error


def _name(path: Path) -> str:
    return "standard input" if path == STDIN else str(path)


def _check_is_there(path: Path) -> None:
    try:
        there = path == STDIN or path.exists()
    except OSError as error:
        raise UnreadableFile(f"{path} cannot be read: {error.strerror}") from error
    if not there:
        raise UnreadableFile(f"there is no {path}")


def _arrays(path: Path, names: tuple[str, ...]) -> Mapping[str, npt.NDArray[Any]]:
    try:
        if not zipfile.is_zipfile(path):
            raise UnreadableFile(f"{path} is no npz file, or a damaged one; numpy.savez writes them")
        with path.open("rb") as file, np.load(file, allow_pickle=False) as archive:
            if missing := [name for name in names if name not in archive]:
                held = ", ".join(archive) or "nothing"
                raise UnreadableFile(f"{path} has no array {missing[0]!r}; it holds {held}")
            arrays = {name: _array(archive, name, path) for name in names}
    # What numpy, zipfile and zlib raise on a broken archive.
    except (OSError, ValueError, TypeError, EOFError, NotImplementedError, zipfile.BadZipFile, zlib.error) as error:
        raise UnreadableFile(f"{path} is a damaged npz file: {error}") from error
    if single := [name for name, array in arrays.items() if array.ndim == 0]:
        raise UnreadableFile(f"{path}: {single[0]} is a single value; the first axis counts the rows")
    return arrays


def _array(archive: Mapping[str, npt.NDArray[Any]], name: str, path: Path) -> npt.NDArray[Any]:
    try:
        array = archive[name]
    except ValueError as error:
        if "allow_pickle" not in str(error):
            raise
        raise UnreadableFile(f"{path}: {name} holds Python objects; save an array of numbers or of text") from error
    if not isinstance(array, np.ndarray):  # numpy gives the bytes of what is no array
        raise UnreadableFile(f"{path}: {name} is no array; numpy.savez writes them")
    return array


def _as_text(array: npt.NDArray[Any], path: Path, what: str) -> npt.NDArray[Any]:
    """Return an array of bytes as one of text, any other as it is."""
    if array.dtype.kind != "S":
        return array
    try:
        return np.char.decode(array, "utf-8")
    except UnicodeDecodeError as error:
        raise UnreadableFile(f"{path}: {what} are not UTF-8") from error


def _class_folders(folder: Path) -> Support:
    inputs: list[Path] = []
    targets: list[str] = []
    classes = [child for child in _children(folder) if child.is_dir()]
    if not classes:
        raise UnreadableFile(f"{folder} has no folders in it; it should hold one folder of pictures a class")
    for child in classes:
        pictures = _pictures(child)
        inputs += pictures
        targets += [child.name] * len(pictures)
    return Support(inputs, targets)


def _query_pictures(folder: Path) -> list[Path]:
    children = _children(folder)
    classes = [child for child in children if child.is_dir()]
    if classes and not any(child.suffix.lower() in PICTURES for child in children):
        raise UnreadableFile(
            f"{folder} holds folders and no pictures; predict from one folder of pictures, such as {classes[0]}, "
            "or name the pictures"
        )
    return _pictures(folder)


def _pictures(folder: Path) -> list[Path]:
    pictures = [path for path in _children(folder) if path.suffix.lower() in PICTURES]
    if not pictures:
        raise UnreadableFile(f"{folder} has no PNG or JPEG pictures in it")
    return pictures


def _children(folder: Path) -> list[Path]:
    try:
        return [child for child in sorted(folder.iterdir()) if not child.name.startswith(".")]
    except OSError as error:
        raise UnreadableFile(f"{folder} cannot be read: {error.strerror}") from error
