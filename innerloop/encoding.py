"""Turn rows as callers have them (lists, arrays, picture files) into a JSON body."""

import base64
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from innerloop.errors import InvalidRequest, NotFinite, UnreadableFile

Rows = Sequence[Any] | npt.NDArray[Any]
"""One entry a row: nested lists, an array, sentences, or for pictures the bytes or paths of PNG and JPEG files."""


def encode(body: Mapping[str, Any] | Sequence[Mapping[str, Any]]) -> bytes:
    """Encode a body as JSON: arrays as nested lists of float32, pictures in base64.

    Raises `NotFinite`, naming the place, where a number is NaN, infinite or too large for float32,
    `UnreadableFile` for a picture that cannot be read, and `InvalidRequest` for anything else that cannot
    be sent.
    """
    try:
        return json.dumps(body, default=_plain, allow_nan=False, separators=(",", ":")).encode()
    except ValueError as error:
        for place, number in _not_finite(body, ""):
            raise NotFinite(f"{place} is {number}; send finite float32 numbers only") from error
        raise


def read_bytes(path: Path) -> bytes:
    """Read a file; raises `UnreadableFile`."""
    try:
        return path.read_bytes()
    except OSError as error:
        raise UnreadableFile(f"{path} cannot be read: {error.strerror}") from error


def _plain(value: object) -> Any:
    if isinstance(value, Path):
        value = read_bytes(value)
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    if not hasattr(value, "__array__"):
        raise InvalidRequest(f"a {type(value).__name__} cannot be sent; rows are lists, arrays or pictures")
    array = np.asarray(value)
    if array.dtype.kind == "f":
        with np.errstate(over="ignore"):  # what is too large becomes infinite, and is refused as such
            array = array.astype(np.float32)
    return array.tolist()


def _not_finite(value: object, place: str) -> Iterator[tuple[str, float]]:
    if isinstance(value, float):
        if not math.isfinite(value):
            yield place, value
    elif isinstance(value, Mapping):
        for key, child in value.items():
            yield from _not_finite(child, f"{place}.{key}" if place else key)
    elif isinstance(value, list | tuple):
        for index, child in enumerate(value):
            yield from _not_finite(child, f"{place}[{index}]")
    elif hasattr(value, "__array__"):
        yield from _not_finite(_plain(value), place)
