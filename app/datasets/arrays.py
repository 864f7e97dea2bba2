"""Files of named arrays: `inputs`, `targets` and `groups`, a row of each for a row of the data."""

import math
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from app.datasets.caps import DatasetCaps
from app.datasets.contents import Contents, Floats, Names
from innerloop.errors import InvalidDataset
from innerloop.wire import DatasetSpec

Array = npt.NDArray[Any]
NUMBERS, NAMES = "biuf", "biuUS"
"""Kinds of numpy dtypes: what can be an input, and what can be a class or a group."""
FLOAT_BYTES = 4
MAX_PICTURE_SIDE = 256
PICTURE_CHANNELS = (1, 3)


class Header(NamedTuple):
    """What is known of an array before it is read."""

    shape: tuple[int, ...]
    kind: str
    """The kind of its numpy dtype."""
    dtype: str
    """For messages."""
    num_bytes: int


class ArrayFile(NamedTuple):
    """Arrays by name, read one at a time."""

    headers: Mapping[str, Header]
    load: Callable[[str], Array]


def contents_of_arrays(spec: DatasetSpec, file: ArrayFile, filename: str, caps: DatasetCaps) -> Contents:
    """Return the rows that `spec` names; InvalidDataset, naming the array and index, for what is wrong with them."""
    names = _array_names(spec, file, filename)
    headers = {name: file.headers[name] for name in names if name is not None}
    _check_lengths(headers, filename, caps)
    inputs_name, targets_name, groups_name = names
    _check_kind(headers[inputs_name], NUMBERS, f"{filename}: {inputs_name}", "numbers")
    groups = None
    if groups_name is not None:
        _check_kind(headers[groups_name], NAMES, f"{filename}: {groups_name}", "strings, integers or booleans")
        groups = _names(file.load(groups_name), f"{filename}: {groups_name}")
    targets = _targets(spec, headers[targets_name], lambda: file.load(targets_name), f"{filename}: {targets_name}")
    return Contents(_inputs(file.load(inputs_name), f"{filename}: {inputs_name}"), targets, groups)


def _array_names(spec: DatasetSpec, file: ArrayFile, filename: str) -> tuple[str, str, str | None]:
    def found(field: str, value: str | list[str] | None, default: str) -> str:
        name = value[0] if isinstance(value, list) and len(value) == 1 else value or default
        if isinstance(name, list):
            raise InvalidDataset(f"spec.{field}: {filename} is a file of arrays; name one array, not {len(name)}")
        if name not in file.headers:
            raise InvalidDataset(f"{filename} holds no array {name!r}, as spec.{field} wants; it holds {held}")
        return name

    held = sorted(file.headers)
    needs_groups = spec.kind == "grouped" or spec.group is not None or "groups" in file.headers
    groups = found("group", spec.group, "groups") if needs_groups else None
    return found("inputs", spec.inputs, "inputs"), found("targets", spec.targets, "targets"), groups


def _check_lengths(headers: Mapping[str, Header], filename: str, caps: DatasetCaps) -> None:
    """Check rows and bytes, before anything is read."""
    first = next(iter(headers))
    for name, header in headers.items():
        if not header.shape:
            raise InvalidDataset(f"{filename}: {name} is a single number; an array with an entry for each row is taken")
        if header.shape[0] != headers[first].shape[0]:
            raise InvalidDataset(
                f"{filename}: {name} has {header.shape[0]} rows, {first} has {headers[first].shape[0]}; they are equal"
            )
    num_rows = headers[first].shape[0]
    if not num_rows:
        raise InvalidDataset(f"{filename} has no rows")
    caps.check_rows(num_rows, filename)
    caps.check_bytes(sum(map(_unpacked_bytes, headers.values())), filename)


def _unpacked_bytes(header: Header) -> int:
    """Return the bytes as they are or as float32, whichever are more; math.prod has Python's integers, and no end."""
    is_bytes = header.kind == "u" and len(header.shape) == 4
    return header.num_bytes if is_bytes else max(header.num_bytes, FLOAT_BYTES * math.prod(header.shape))


def _check_kind(header: Header, kinds: str, where: str, wanted: str) -> None:
    if header.kind not in kinds:
        raise InvalidDataset(f"{where} is of type {header.dtype}; {wanted} are taken")


def _inputs(array: Array, where: str) -> npt.NDArray[np.uint8] | Floats:
    """Return [rows, *shape]: 4-d arrays are pictures, uint8 or in 0..1, everything else numbers."""
    if not array.size:
        raise InvalidDataset(f"{where} has shape {list(array.shape)}; a row holds at least one number")
    if array.ndim != 4:
        return _by_row(finite(array, where))
    _, channels, height, width = array.shape
    if channels not in PICTURE_CHANNELS or max(height, width) > MAX_PICTURE_SIDE:
        raise InvalidDataset(
            f"{where} has shape {list(array.shape)}; pictures are [rows, channels, height, width] with 1 or 3 channels "
            f"and at most {MAX_PICTURE_SIDE} pixels a side"
        )
    if array.dtype == np.uint8:
        return np.ascontiguousarray(array)
    pictures = finite(array, where)
    low, high = float(pictures.min()), float(pictures.max())
    if low < 0.0 or high > 1.0:
        raise InvalidDataset(f"{where} holds {low:g} to {high:g}; pictures are uint8, or numbers in 0..1")
    return pictures


def _targets(spec: DatasetSpec, header: Header, load: Callable[[], Array], where: str) -> Floats | Names:
    wants_classes = spec.kind == "labelled" or spec.output == "classification"
    if wants_classes or (spec.output is None and header.kind in "bUS"):
        _check_kind(header, NAMES, where, "classes are strings, integers or booleans; no other types")
        return _names(load(), where)
    _check_kind(header, NUMBERS, where, "numbers")
    if len(header.shape) > 2 or 0 in header.shape:
        raise InvalidDataset(f"{where} has shape {list(header.shape)}; targets are [rows] or [rows, D]")
    return _by_row(finite(load(), where))


def _by_row(numbers: Floats) -> Floats:
    """Return one number a row as a vector of one."""
    return numbers[:, None] if numbers.ndim == 1 else numbers


def finite(array: Array, where: str) -> Floats:
    """Return the numbers as float32; InvalidDataset, naming the index, for one that is not finite as such."""
    with np.errstate(over="ignore", invalid="ignore"):
        single: Floats = np.ascontiguousarray(array, dtype=np.float32)
    good = np.isfinite(single)
    if not good.all():
        index = np.unravel_index(int(good.argmin()), good.shape)
        place = "".join(f"[{int(i)}]" for i in index)
        raise InvalidDataset(f"{where}{place} is {float(array[index]):g}, not finite or too large for float32")
    return single


def _names(array: Array, where: str) -> Names:
    if array.ndim == 2 and array.shape[1] == 1:
        array = array[:, 0]
    if array.ndim != 1:
        raise InvalidDataset(f"{where} has shape {list(array.shape)}; one name a row, [rows], is taken")
    values, first, codes = np.unique(array, return_index=True, return_inverse=True)
    by_appearance = first.argsort()
    names = tuple(_text(values[i], f"{where}[{int(first[i])}]") for i in by_appearance)
    rank = np.empty(len(values), dtype=np.int64)
    rank[by_appearance] = np.arange(len(values))
    return Names(rank[codes.reshape(-1)], names)


def _text(value: Any, where: str) -> str:
    if isinstance(value, np.bool_):
        return "true" if value else "false"
    try:
        text = value.decode("utf-8") if isinstance(value, bytes) else str(value)
        text.encode("utf-8")
    except UnicodeError as error:
        raise InvalidDataset(f"{where} is no text in UTF-8") from error
    if not text.strip():
        raise InvalidDataset(f"{where} is empty; each row has a name")
    return text
