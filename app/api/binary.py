"""Requests and answers as safetensors: arrays as tensors, all other fields as one JSON string in the metadata."""

from collections.abc import Collection, Mapping
from typing import Any, NamedTuple, TypeVar

import numpy as np
import numpy.typing as npt
import orjson
from pydantic import BaseModel

from app.api.body import json_object, validated
from app.api.json_memory import check_memory
from app.safetensors_header import Entry, Header, declared_header, header_bytes, read_header
from innerloop.errors import InvalidRequest, InvalidTargets, NotSafetensors, TooManyRows
from innerloop.wire import AdaptRequest, Limits, PredictRequest

Body = TypeVar("Body", bound=BaseModel)
Array = npt.NDArray[Any]

MEDIA_TYPE = "application/vnd.safetensors"
REQUEST, RESPONSE = "request", "response"
"""Metadata keys of the fields that are no tensors."""
TAKEN_METADATA = {REQUEST, "format"}
"""Libraries write the framework's name under `format`."""

FLOATS: Mapping[str, str] = {"F32": "<f4", "F16": "<f2", "F64": "<f8", "BF16": "<u2"}
"""numpy's names; BF16, which it lacks, by its bits."""
INPUTS = {**FLOATS, "U8": "|u1"}
TARGETS = {**FLOATS, "I64": "<i8"}


class Slot(NamedTuple):
    """What a tensor of one name may be."""

    dtypes: Mapping[str, str]
    cap: str
    """The limit that its rows are held against."""


SUPPORT = {"support.inputs": Slot(INPUTS, "max_support_rows"), "support.targets": Slot(TARGETS, "max_support_rows")}
ADAPT_SLOTS: Mapping[str, Slot] = {
    **SUPPORT,
    "validation.inputs": Slot(INPUTS, "max_query_rows"),
    "validation.targets": Slot(TARGETS, "max_query_rows"),
}
PREDICT_SLOTS: Mapping[str, Slot] = {**SUPPORT, "inputs": Slot(INPUTS, "max_query_rows")}


def is_safetensors(content_type: str | None) -> bool:
    """Tell whether a Content-Type is the one of such bodies."""
    return _media_type(content_type or "") == MEDIA_TYPE


def wants_safetensors(accept: str | None) -> bool:
    """Tell whether an Accept header names safetensors, and not JSON with a larger weight; wildcards mean JSON."""
    weights = {_media_type(part): _weight(part) for part in (accept or "").split(",")}
    return weights.get(MEDIA_TYPE, 0.0) > 0.0 and weights[MEDIA_TYPE] >= weights.get("application/json", 0.0)


def adapt_request(body: bytes | bytearray, limits: Limits) -> AdaptRequest:
    """Return the request of a body; its arrays are views of the body where their type allows it.

    Raises BodyTooLarge, NotSafetensors, NotJson, NotFinite, TooManyRows, InvalidTargets, InvalidRequest or InvalidId.
    """
    return _request(body, AdaptRequest, ADAPT_SLOTS, limits)


def predict_request(body: bytes | bytearray, limits: Limits) -> PredictRequest:
    """Return the request of a body, as `adapt_request` does."""
    return _request(body, PredictRequest, PREDICT_SLOTS, limits)


def answer_bytes(fields: Mapping[str, Any]) -> bytes:
    """Return an answer whose arrays are tensors and whose other fields are JSON under the metadata key `response`."""
    arrays = {
        name: np.ascontiguousarray(value, dtype="<f4")
        for name, value in fields.items()
        if isinstance(value, np.ndarray)
    }
    rest = orjson.dumps({name: value for name, value in fields.items() if name not in arrays})
    header, names = header_bytes(
        [(name, "F32", array.shape) for name, array in arrays.items()], {RESPONSE: rest.decode()}
    )
    return b"".join((header, *(arrays[name].data for name in names)))


def _request(body: bytes | bytearray, model: type[Body], slots: Mapping[str, Slot], limits: Limits) -> Body:
    check_memory(declared_header(body), "the header")
    try:
        header = read_header(body)
    except ValueError as error:
        raise NotSafetensors(f"the body is not a safetensors file: {error}") from error
    for entry in header.entries:
        _check_entry(entry, slots, limits)
    document = _fields(header.metadata, header.entries)
    classes = document.pop("classes", None)
    arrays = {entry.name: _array(body, header, entry) for entry in header.entries}
    if classes is not None:
        _name_classes(arrays, classes)
    for name, array in arrays.items():
        _put(document, name, array)
    return validated(document, model)


def _check_entry(entry: Entry, slots: Mapping[str, Slot], limits: Limits) -> None:
    """Refuse what is not taken before anything is made of it."""
    slot = slots.get(entry.name)
    if slot is None:
        raise InvalidRequest(f"there is a tensor {entry.name[:64]!r}; taken here are {', '.join(slots)}")
    if entry.dtype not in slot.dtypes:
        raise InvalidRequest(f"{entry.name} is of type {entry.dtype}; taken are {', '.join(slot.dtypes)}")
    if not entry.shape:
        raise InvalidRequest(f"{entry.name} is a single number; its first axis must be that of the rows")
    most: int = getattr(limits, slot.cap)
    if entry.shape[0] > most:
        raise TooManyRows(f"{entry.name} has {entry.shape[0]} rows; at most {most} ({slot.cap} in GET /limits)")


def _fields(metadata: Mapping[str, str], entries: Collection[Entry]) -> dict[str, Any]:
    unknown = metadata.keys() - TAKEN_METADATA
    if unknown:
        raise InvalidRequest(f"the metadata has a key {min(unknown)[:64]!r}; the fields belong under {REQUEST!r}")
    document = json_object(metadata[REQUEST], f"the metadata's {REQUEST!r}") if REQUEST in metadata else {}
    if "classes" in document and not any(entry.dtype == "I64" for entry in entries):
        raise InvalidRequest("classes are the names that targets of type I64 stand for, and there are none")
    return document


def _array(body: bytes | bytearray, header: Header, entry: Entry) -> Array:
    dtype = np.dtype(INPUTS.get(entry.dtype) or TARGETS[entry.dtype])
    count = (entry.end - entry.begin) // dtype.itemsize
    array: Array = np.frombuffer(body, dtype, count, header.num_bytes + entry.begin).reshape(entry.shape)
    if entry.dtype == "BF16":
        return (array.astype("<u4") << 16).view("<f4")
    return array


def _name_classes(arrays: dict[str, Any], classes: Any) -> None:
    """Put class names in the place of their indexes."""
    if not isinstance(classes, list) or not _are_names(classes) or len(set(classes)) < len(classes):
        raise InvalidTargets("classes is no list of class names, all strings or all integers, and each there once")
    for name, array in arrays.items():
        if array.dtype.kind != "i":
            continue
        if array.ndim != 1:
            raise InvalidTargets(f"{name} has {array.ndim} axes; class indexes are one a row")
        wrong = np.flatnonzero((array < 0) | (array >= len(classes)))
        if len(wrong):
            row = int(wrong[0])
            raise InvalidTargets(f"{name}[{row}] is {array[row]}; classes has {len(classes)} names, counted from 0")
        arrays[name] = [classes[index] for index in array.tolist()]


def _are_names(classes: list[Any]) -> bool:
    kinds = {type(name) for name in classes}
    return kinds in ({str}, {int})


def _put(document: dict[str, Any], name: str, array: Any) -> None:
    """Put an array where JSON would have it, as `support.inputs` says."""
    *parents, field = name.split(".")
    for parent in parents:
        document = document.setdefault(parent, {})
        if not isinstance(document, dict):
            raise InvalidRequest(f"{parent} in the metadata's {REQUEST!r} is no object, and there is a tensor {name}")
    if field in document:
        raise InvalidRequest(f"{name} is a tensor and stands in the metadata's {REQUEST!r} too; send it once")
    document[field] = array


def _media_type(text: str) -> str:
    return text.partition(";")[0].strip().lower()


def _weight(part: str) -> float:
    """Return the weight that a media range of an Accept header has; 0 for one that cannot be read."""
    for parameter in part.split(";")[1:]:
        name, _, value = parameter.partition("=")
        if name.strip().lower() == "q":
            try:
                return float(value)
            except ValueError:
                return 0.0
    return 1.0
