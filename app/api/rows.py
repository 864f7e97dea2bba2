"""Rows of inputs: nested lists, PNG and JPEG files in base64, or sentences, as float32 of a model's shape."""

import base64
import binascii
from collections.abc import Callable, Sequence
from itertools import chain
from typing import Any

import numpy as np
import numpy.typing as npt

from app.card import Card, InputCard
from app.pictures import decode_picture
from innerloop.errors import (
    InvalidPicture,
    InvalidRequest,
    InvalidText,
    NotFinite,
    PictureTooLarge,
    ShapeMismatch,
    TextTooLong,
)
from innerloop.wire import Limits

Array = npt.NDArray[np.float32]
Encode = Callable[[Sequence[str], Sequence[str]], Array]
"""(sentences, their places for messages, as in "inputs[3]") -> [R, D]; of the model's encoder."""

PICTURE_RANGE_SLACK = 1e-3
"""Beyond 0..1 by no more than what resampling elsewhere may overshoot."""


def input_rows(value: Any, where: str, card: Card, model: str, limits: Limits, encode: Encode) -> Array:
    """Return [R, *input shape]; `where` and `model` are for messages, as in "support.inputs" and "sinusoid@1".

    Raises InvalidRequest, ShapeMismatch, NotFinite, InvalidPicture, PictureTooLarge, InvalidText or TextTooLong, naming
    the first wrong row, and what `encode` raises.
    """
    if not isinstance(value, list):
        raise InvalidRequest(f"{where} is not a list; a list with an entry for each row is expected")
    first_string = next((i for i, row in enumerate(value) if isinstance(row, str)), None)
    if first_string is not None and card.input.kind == "image":
        most = limits.max_picture_pixels
        return np.stack([_picture_row(row, f"{where}[{i}]", card, model, most) for i, row in enumerate(value)])
    if card.input.kind == "text":
        return _text_rows(value, where, card, model, limits.max_text_chars, encode)
    if first_string is not None:
        takes = _described(card.input.shape)
        raise InvalidRequest(f"{where}[{first_string}] is a string; {model} takes {takes} a row, and no sentences")
    array = numbers(value, where, card.input.shape, model)
    if card.input.kind == "image":
        _check_range(array, where)
    return array


def numbers(value: list[Any], where: str, shape: tuple[int, ...], model: str) -> Array:
    """Return nested lists as [R, *shape] float32; ShapeMismatch, InvalidRequest or NotFinite when they are not that."""
    if not value:
        return _empty(shape)
    if not _only_numbers(value, len(shape)):
        raise _first_wrong(value, where, shape, model)
    try:
        array = np.array(value)
    except (ValueError, OverflowError):  # ragged
        raise _first_wrong(value, where, shape, model) from None
    if array.shape[1:] != shape:
        raise _first_wrong(value, where, shape, model)
    with np.errstate(over="ignore"):
        single: Array = array.astype(np.float32)
    _check_finite(single, where)
    return single


def _picture_row(row: Any, where: str, card: Card, model: str, max_picture_pixels: int) -> Array:
    if not isinstance(row, str):
        alone: Array = numbers([row], where, card.input.shape, model)[0]
        _check_range(alone[None], where)
        return alone
    try:
        data = base64.b64decode(row, validate=True)
    except (binascii.Error, ValueError) as error:
        raise InvalidPicture(f"{where} is a string but no base64; send PNG or JPEG files in base64") from error
    try:
        pixels = decode_picture(data, _picture_shape(card.input), max_picture_pixels)
    except (InvalidPicture, PictureTooLarge) as error:
        raise type(error)(f"{where}: {error.detail}") from error
    return pixels.astype(np.float32) / np.float32(255.0)


def _text_rows(value: list[Any], where: str, card: Card, model: str, max_chars: int, encode: Encode) -> Array:
    """Return the embeddings of sentences among rows that are embeddings already; all numbers are looked at first."""
    is_text_R = [isinstance(row, str) for row in value]
    zeros = [0.0] * card.input.shape[0]
    try:
        array = numbers(
            [zeros if is_text else row for is_text, row in zip(is_text_R, value, strict=True)],
            where,
            card.input.shape,
            model,
        )
    except (InvalidRequest, ShapeMismatch) as error:
        raise type(error)(f"{error.detail}; or a sentence, as a string") from error
    if any(is_text_R):
        places = [f"{where}[{i}]" for i, is_text in enumerate(is_text_R) if is_text]
        texts = [row for row in value if isinstance(row, str)]
        for text, place in zip(texts, places, strict=True):
            _check_text(text, place, max_chars)
        array[is_text_R] = encode(texts, places)
    return array


def _check_text(text: str, place: str, max_chars: int) -> None:
    if len(text) > max_chars:
        raise TextTooLong(f"{place} has {len(text)} characters; at most {max_chars} (max_text_chars in GET /limits)")
    if not text.strip():
        raise InvalidText(f"{place} is empty; leave the row out, or send a sentence")


def _picture_shape(card: InputCard) -> tuple[int, int, int]:
    channels, height, width = card.shape
    return channels, height, width


def _check_range(array: Array, where: str) -> None:
    low, high = float(array.min(initial=0.0)), float(array.max(initial=0.0))
    if low >= -PICTURE_RANGE_SLACK and high <= 1.0 + PICTURE_RANGE_SLACK:
        return
    outside_R = (np.abs(array - 0.5) > 0.5 + PICTURE_RANGE_SLACK).reshape(len(array), -1).any(axis=1)
    i = int(outside_R.argmax())
    held = f"{where}[{i}] holds numbers from {array[i].min():g} to {array[i].max():g}"
    raise InvalidPicture(f"{held}; pictures as lists are in 0..1")


def _check_finite(array: Array, where: str) -> None:
    finite = np.isfinite(array)
    if not finite.all():
        index = np.unravel_index(int(finite.argmin()), finite.shape)
        place = "".join(f"[{i}]" for i in index)
        raise NotFinite(f"{where}{place} is not finite, or too large for float32")


def _only_numbers(value: list[Any], depth: int) -> bool:
    """Tell whether lists of lists hold numbers alone.

    Looked at before numpy does, which takes booleans for numbers and makes every number as wide as the longest text.
    """
    leaves = value
    for _ in range(depth):
        if not set(map(type, leaves)) <= {list}:
            return False
        leaves = list(chain.from_iterable(leaves))
    return set(map(type, leaves)) <= {int, float}


def _first_wrong(value: list[Any], where: str, shape: tuple[int, ...], model: str) -> Exception:
    """Return the error of the first row that is not of `shape` or not of numbers."""
    for i, row in enumerate(value):
        found = _shape_of(row, len(shape) + 1)
        if found is None:
            return InvalidRequest(
                f"{where}[{i}] is not {_described(shape)}: it holds something that is not a number, lists of unequal "
                "lengths, or lists in lists too deep"
            )
        if found != shape:
            return ShapeMismatch(f"{where}[{i}] has {_described(found)}; {model} takes {_described(shape, short=True)}")
    return ShapeMismatch(f"{where} does not have the shape {list(shape)} a row that {model} takes")


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


def _described(shape: tuple[int, ...], *, short: bool = False) -> str:
    if len(shape) == 1:
        return str(shape[0]) if short else f"{shape[0]} number{'' if shape[0] == 1 else 's'}"
    if not shape:
        return "a bare number" if not short else "bare numbers"
    return f"shape {list(shape)}"


def _empty(shape: tuple[int, ...]) -> Array:
    return np.zeros((0, *shape), dtype=np.float32)
