"""Numbers out of nested lists and arrays, as float32 of a model's shape; the first wrong row is named."""

import math
import struct
from itertools import chain
from typing import Any

import numpy as np
import numpy.typing as npt

from innerloop.errors import InvalidRequest, NotFinite, ShapeMismatch

Array = npt.NDArray[np.float32]

MOST_LEVELS_SHOWN = 8
CHUNK_NUMBERS = 4096
"""Numbers that are looked at together: as objects of Python they stay in the processor's cache until they are
converted. A million in one go takes up to twice as long."""


def numbers(value: Any, where: str, shape: tuple[int, ...], model: str) -> Array:
    """Return nested lists, or an array, as [R, *shape] float32; `where` and `model` are for messages.

    Raises ShapeMismatch, InvalidRequest or NotFinite when they are not that. An array that is float32 already is
    returned as it is.
    """
    if isinstance(value, np.ndarray):
        array = _converted(value, where, shape, model)
    else:
        found = packed_numbers(value, shape)
        if found is None:
            raise first_wrong(value, where, shape, model)
        array = found
    check_finite(array, where)
    return array


def packed_numbers(value: list[Any], shape: tuple[int, ...]) -> Array | None:
    """Return nested lists as [R, *shape] float32; None for another shape and for what holds more than numbers.

    What no float32 holds becomes infinite. Written for the lists of a JSON parser, of which it flattens a few rows at
    a time: numpy takes booleans for numbers, and its own way through the lists is slower.
    """
    num_rows = max(1, CHUNK_NUMBERS // max(1, math.prod(shape)))
    parts: list[Array] = []
    for row in range(0, len(value), num_rows):
        leaves = _flattened(value if num_rows >= len(value) else value[row : row + num_rows], shape)
        part = None if leaves is None else _packed(leaves)
        if part is None:
            return None
        parts.append(part)
    flat = parts[0] if len(parts) == 1 else np.concatenate(parts) if parts else np.empty(0, dtype=np.float32)
    return flat.reshape(len(value), *shape)


def check_finite(array: Array, where: str) -> None:
    """Raise NotFinite, naming the place, where a number is not finite."""
    finite = np.isfinite(array)
    if not finite.all():
        index = np.unravel_index(int(finite.argmin()), finite.shape)
        place = "".join(f"[{i}]" for i in index)
        raise NotFinite(f"{where}{place} is not finite, or too large for float32")


def first_wrong(value: list[Any], where: str, shape: tuple[int, ...], model: str) -> InvalidRequest | ShapeMismatch:
    """Return the error of the first row that is not of `shape` or not of numbers."""
    for i, row in enumerate(value):
        found = _shape_of(row, len(shape) + 1)
        if found is None:
            return InvalidRequest(f"{where}[{i}] is not {described(shape)}: it holds {_culprit(row)}")
        if found != shape:
            return _other_shape(f"{where}[{i}]", found, shape, model)
    return ShapeMismatch(f"{where} does not have the shape {list(shape)} a row that {model} takes")


def described(shape: tuple[int, ...], *, short: bool = False) -> str:
    """Return the shape of a row in words, as in "2 numbers"."""
    if len(shape) == 1:
        return str(shape[0]) if short else f"{shape[0]} number{'' if shape[0] == 1 else 's'}"
    if not shape:
        return "a bare number" if not short else "bare numbers"
    return f"shape {list(shape)}"


def _converted(value: npt.NDArray[Any], where: str, shape: tuple[int, ...], model: str) -> Array:
    if value.dtype.kind not in "fiu":
        raise InvalidRequest(f"{where} is an array of {value.dtype}; {model} takes numbers")
    if not len(value):
        return np.zeros((0, *shape), dtype=np.float32)
    if value.shape[1:] != shape:
        raise _other_shape(f"{where}[0]", value.shape[1:], shape, model)
    if value.dtype == np.float32:
        return value
    with np.errstate(over="ignore"):  # it is infinite then, and refused as such
        return value.astype(np.float32)


def _flattened(rows: list[Any], shape: tuple[int, ...]) -> list[Any] | None:
    """Return the leaves of lists of lists; None for another shape.

    Strings and objects pass for lists here: neither has a number for a leaf.
    """
    leaves = rows
    for length in shape:
        try:
            lengths = set(map(len, leaves))
        except TypeError:  # a number has no length
            return None
        if lengths != {length}:
            return None
        leaves = list(chain.from_iterable(leaves))
    return leaves


def _packed(leaves: list[Any]) -> Array | None:
    """Return numbers as one run; None where something is none."""
    kinds = list(map(type, leaves))  # counted in a list: a set of them takes twice as long
    num_floats = kinds.count(float)
    if num_floats < len(leaves) and num_floats + kinds.count(int) < len(leaves):
        return None
    array: Array = np.empty(len(leaves), dtype=np.float32)
    struct.pack_into(f"{len(leaves)}f", array.data, 0, *leaves)
    return array


def _shape_of(row: Any, most_levels: int) -> tuple[int, ...] | None:
    """Return the shape of nested lists of numbers, () for a number, None for anything else or deeper."""
    if type(row) in (int, float):
        return ()
    if not isinstance(row, list) or not most_levels:
        return None
    shapes = {_shape_of(entry, most_levels - 1) for entry in row}
    if not shapes:
        return (0,)
    inner = shapes.pop()
    return None if shapes or inner is None else (len(row), *inner)


def _culprit(row: Any) -> str:
    """Return in words why a row is no array of numbers."""
    waiting = [(row, 0)]
    while waiting:
        value, level = waiting.pop()
        if isinstance(value, list) and level < MOST_LEVELS_SHOWN:
            waiting += [(entry, level + 1) for entry in reversed(value)]
        elif isinstance(value, str):
            return f"the string {value[:32]!r}, which is not a number"
        elif type(value) not in (int, float, list):
            kinds = {bool: "a boolean", type(None): "null", dict: "an object"}
            return f"{kinds.get(type(value), 'something')}, which is not a number"
    return "lists of unequal lengths, or lists in lists too deep"


def _other_shape(place: str, found: tuple[int, ...], shape: tuple[int, ...], model: str) -> ShapeMismatch:
    hint = "; a row is a list of its own" if shape == (1,) and not found else ""
    return ShapeMismatch(f"{place} has {described(found)}; {model} takes {described(shape, short=True)}{hint}")
