"""Datatypes of the protocol, and tensors of rows read out of bytes or JSON."""

import base64
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from app.api.numbers import check_finite, packed_numbers
from innerloop.errors import BadRequest, InvalidRequest

Rows = npt.NDArray[Any] | list[str]

NUMPY_NAMES: Mapping[str, str] = {
    "FP64": "<f8",
    "FP32": "<f4",
    "FP16": "<f2",
    "INT64": "<i8",
    "INT32": "<i4",
    "INT16": "<i2",
    "INT8": "|i1",
    "UINT64": "<u8",
    "UINT32": "<u4",
    "UINT16": "<u2",
    "UINT8": "|u1",
}
"""Numbers that are taken; UINT8 of a model of pictures is in 0..255."""
BYTES = "BYTES"
TAKEN = (*NUMPY_NAMES, BYTES)
LENGTH_BYTES = 4
"""Before each element of BYTES."""


def rows_of_bytes(data: memoryview, datatype: str, shape: Sequence[int]) -> Rows:
    """Return a tensor that came as raw little-endian bytes, its numbers as a view of them; BadRequest."""
    if datatype == BYTES:
        return _texts_of_bytes(data, math.prod(shape))
    dtype = np.dtype(NUMPY_NAMES[datatype])
    num_bytes = math.prod(shape) * dtype.itemsize
    if num_bytes != len(data):
        raise BadRequest(f"inputs of shape {list(shape)} and {datatype} take {num_bytes} bytes; {len(data)} came")
    return np.frombuffer(data, dtype, num_bytes // dtype.itemsize).reshape(shape)


def rows_of_json(data: Any, datatype: str, shape: Sequence[int]) -> Rows:
    """Return a tensor that came as JSON, flat or nested as its shape says; BadRequest, InvalidRequest or NotFinite."""
    if datatype == "FP16":
        raise BadRequest("FP16 has no JSON form; send inputs as binary data, or as FP32")
    if not isinstance(data, list):
        raise BadRequest("inputs has neither data nor parameters.binary_data_size")
    if datatype == BYTES:
        return _texts_of_json(data, math.prod(shape))
    array = packed_numbers(data, tuple(shape[1:]) if data and isinstance(data[0], list) else ())
    if array is None or array.size != math.prod(shape):
        raise InvalidRequest(f"the data of inputs are not {math.prod(shape)} numbers, flat or in the shape {shape}")
    check_finite(array, "inputs")
    return _whole(array, datatype).reshape(shape)


def bytes_of_texts(texts: Sequence[str]) -> bytes:
    """Return strings as a tensor of BYTES."""
    encoded = [text.encode() for text in texts]
    return b"".join(part for text in encoded for part in (len(text).to_bytes(LENGTH_BYTES, "little"), text))


def _texts_of_bytes(data: memoryview, num_texts: int) -> list[str]:
    texts, end = [], 0
    for row in range(num_texts):
        begin = end + LENGTH_BYTES
        length = int.from_bytes(data[end:begin], "little")
        end = begin + length
        if end > len(data):
            raise BadRequest(f"element {row} of inputs would end at byte {end} of {len(data)}")
        texts.append(_text(bytes(data[begin:end])))
    if end != len(data):
        raise BadRequest(f"{len(data) - end} bytes follow the {num_texts} elements of inputs")
    return texts


def _text(element: bytes) -> str:
    """Return a sentence, or a picture's file in the form that JSON has for it: no PNG and no JPEG is UTF-8."""
    try:
        return element.decode()
    except UnicodeDecodeError:
        return base64.b64encode(element).decode()


def _texts_of_json(data: list[Any], num_texts: int) -> list[str]:
    texts = [row[0] if isinstance(row, list) and len(row) == 1 else row for row in data]
    if len(texts) != num_texts or not all(isinstance(text, str) for text in texts):
        raise InvalidRequest(f"the data of inputs are not {num_texts} strings")
    return texts


def _whole(array: npt.NDArray[np.float32], datatype: str) -> npt.NDArray[Any]:
    """Return numbers of JSON, in the type that they were said to have where that makes a difference: UINT8."""
    dtype = np.dtype(NUMPY_NAMES[datatype])
    if dtype.kind == "f":
        return array
    range_ = np.iinfo(dtype)
    if not ((array == np.trunc(array)) & (array >= range_.min) & (array <= range_.max)).all():
        raise InvalidRequest(f"the data of inputs are not all {datatype}: whole numbers of its range")
    return array.astype(dtype) if datatype == "UINT8" else array
