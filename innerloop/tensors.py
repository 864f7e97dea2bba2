"""Turn requests into safetensors and answers back: arrays as their bytes, all else as JSON beside them."""

import json
from collections.abc import Mapping
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel
from safetensors import SafetensorError
from safetensors.numpy import load, save

from innerloop.encoding import encode
from innerloop.errors import NotFinite, UnexpectedAnswer

Answer = TypeVar("Answer", bound=BaseModel)
Array = npt.NDArray[Any]

_REQUEST, _RESPONSE = "request", "response"
_ROWS = ("inputs", "targets")


def encode_tensors(body: Mapping[str, Any]) -> bytes:
    """Encode a body as safetensors: arrays of numbers as tensors, everything else under the metadata key `request`.

    Floats go as float32, or as float16 if they are that; uint8 as it is, which a model of pictures takes for 0..255;
    other whole numbers as int64 where they are targets. Raises what `encode` raises.
    """
    tensors: dict[str, Array] = {}
    rest = _without_arrays(body, "", tensors)
    return save(tensors, {_REQUEST: encode(rest).decode()})


def read_tensors(model: type[Answer], body: bytes) -> Answer:
    """Read an answer that came as safetensors; raises `UnexpectedAnswer`, and pydantic's error for other fields."""
    try:
        arrays = load(body)
        header = json.loads(body[8 : 8 + int.from_bytes(body[:8], "little")])
        fields = json.loads(header["__metadata__"][_RESPONSE])
    except (SafetensorError, ValueError, KeyError, TypeError) as error:
        raise UnexpectedAnswer(f"an answer of {len(body)} bytes that is no safetensors file: {body[:40]!r}") from error
    return model.model_validate({**fields, **{name: array.tolist() for name, array in arrays.items()}})


def _without_arrays(fields: Mapping[str, Any], prefix: str, tensors: dict[str, Array]) -> dict[str, Any]:
    """Return the fields that are no arrays, and put those that are into `tensors`."""
    rest: dict[str, Any] = {}
    for name, value in fields.items():
        place = prefix + name
        if isinstance(value, Mapping):
            rest[name] = _without_arrays(value, f"{place}.", tensors)
        elif name in _ROWS and hasattr(value, "__array__") and _has_form(np.asarray(value), name):
            tensors[place] = _tensor(np.asarray(value), place)
        else:
            rest[name] = value
    return rest


def _has_form(array: Array, name: str) -> bool:
    """Tell whether an array can be a tensor; uint64 has numbers that no int64 holds, and JSON has room for."""
    return array.dtype.kind in "fiu" and (name == "inputs" or array.dtype != np.uint64)


def _tensor(array: Array, place: str) -> Array:
    if array.dtype.kind in "iu" and place.endswith("targets"):
        return np.ascontiguousarray(array, dtype=np.int64)
    kept = array.dtype in (np.float16, np.uint8)
    with np.errstate(over="ignore"):  # what is too large becomes infinite, and is refused as such
        sent = np.ascontiguousarray(array if kept else array.astype(np.float32))
    finite = np.isfinite(sent)
    if not finite.all():
        index = np.unravel_index(int(finite.argmin()), finite.shape)
        at = place + "".join(f"[{i}]" for i in index)
        raise NotFinite(f"{at} is {array[index]}; send finite float32 numbers only")
    return sent
