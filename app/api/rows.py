"""Rows of inputs: nested lists, PNG and JPEG files in base64, or sentences, as float32 of a model's shape."""

import base64
import binascii
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from app.api.numbers import Array, check_finite, described, numbers, packed_numbers
from app.card import Card, InputCard
from app.pictures import check_together, decode_picture, pixels_to_decode
from innerloop.errors import (
    InvalidPicture,
    InvalidRequest,
    InvalidText,
    PictureTooLarge,
    ShapeMismatch,
    TextTooLong,
)
from innerloop.wire import Limits

Encode = Callable[[Sequence[str], Sequence[str]], Array]
"""(sentences, their places for messages, as in "inputs[3]") -> [R, D]; of the model's encoder."""

PICTURE_RANGE_SLACK = 1e-3
"""Beyond 0..1 by no more than what resampling elsewhere may overshoot."""
PICTURE_WHITE = np.float32(255.0)


def input_rows(value: Any, where: str, card: Card, model: str, limits: Limits, encode: Encode) -> Array:
    """Return [R, *input shape]; `where` and `model` are for messages, as in "support.inputs" and "sinusoid@1".

    Raises InvalidRequest, ShapeMismatch, NotFinite, InvalidPicture, PictureTooLarge, InvalidText or TextTooLong, naming
    the first wrong row, and what `encode` raises.
    """
    if isinstance(value, np.ndarray):
        return _array_rows(value, where, card, model)
    if not isinstance(value, list):
        raise InvalidRequest(f"{where} is not a list; a list with an entry for each row is expected")
    array = packed_numbers(value, card.input.shape)
    if array is None:
        return _other_rows(value, where, card, model, limits, encode)
    check_finite(array, where)
    if card.input.kind == "image":
        _check_range(array, where)
    return array


def _array_rows(value: npt.NDArray[Any], where: str, card: Card, model: str) -> Array:
    """Return the rows of an array; pictures in whole numbers of one byte are in 0..255."""
    array = numbers(value, where, card.input.shape, model)
    if card.input.kind != "image":
        return array
    if value.dtype == np.uint8:
        return array / PICTURE_WHITE
    _check_range(array, where)
    return array


def _other_rows(value: list[Any], where: str, card: Card, model: str, limits: Limits, encode: Encode) -> Array:
    """Return rows that are not numbers alone: some are strings, or one is wrong and its error is raised."""
    first_string = next((i for i, row in enumerate(value) if isinstance(row, str)), None)
    if first_string is not None and card.input.kind == "image":
        return _picture_rows(value, where, card, model, limits)
    if card.input.kind == "text":
        return _text_rows(value, where, card, model, limits.max_text_chars, encode)
    if first_string is not None:
        takes = described(card.input.shape)
        raise InvalidRequest(f"{where}[{first_string}] is a string; {model} takes {takes} a row, and no sentences")
    return numbers(value, where, card.input.shape, model)


def _picture_rows(value: list[Any], where: str, card: Card, model: str, limits: Limits) -> Array:
    rows: list[Array] = []
    together = 0
    for i, row in enumerate(value):
        place = f"{where}[{i}]"
        if isinstance(row, str):
            data = _picture_bytes(row, place)
            together += pixels_to_decode(data, limits.max_picture_pixels)
            check_together(together, limits.max_request_pixels)
            rows.append(_picture_row(data, place, card, limits.max_picture_pixels))
        else:
            rows.append(numbers([row], place, card.input.shape, model)[0])
            _check_range(rows[-1][None], place)
    return np.stack(rows)


def _picture_bytes(row: str, where: str) -> bytes:
    try:
        return base64.b64decode(row, validate=True)
    except (binascii.Error, ValueError) as error:
        raise InvalidPicture(f"{where} is a string but no base64; send PNG or JPEG files in base64") from error


def _picture_row(data: bytes, where: str, card: Card, max_picture_pixels: int) -> Array:
    try:
        pixels = decode_picture(data, _picture_shape(card.input), max_picture_pixels)
    except (InvalidPicture, PictureTooLarge) as error:
        raise type(error)(f"{where}: {error.detail}") from error
    return pixels.astype(np.float32) / PICTURE_WHITE


def _text_rows(value: list[Any], where: str, card: Card, model: str, max_chars: int, encode: Encode) -> Array:
    """Return the embeddings of sentences among rows that are embeddings already; all numbers are looked at first."""
    is_text_R = [isinstance(row, str) for row in value]
    zeros = [0.0] * card.input.shape[0]
    embeddings = [zeros if is_text else row for is_text, row in zip(is_text_R, value, strict=True)]
    try:
        array = numbers(embeddings, where, card.input.shape, model)
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
