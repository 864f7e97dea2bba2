"""`infer` requests: their JSON, the raw tensors after it, and what of that becomes a prediction."""

import math
from typing import Any, NamedTuple

from pydantic import BaseModel, ConfigDict, Field

from app.api.body import json_object, validated
from app.api.inference_protocol.datatypes import NUMPY_NAMES, TAKEN, Rows, rows_of_bytes, rows_of_json
from innerloop.errors import BadRequest, TooManyRows
from innerloop.wire import Limits, PredictRequest

INPUTS = "inputs"
MAX_AXES = 16
MAX_SIZE = 2**40
"""Of an axis, and of all together: far more than any body holds, and far less than numpy can count."""


class _Parameters(BaseModel):
    """What is understood of parameters; others are hints for other servers."""

    model_config = ConfigDict(extra="ignore", strict=True)


class InferParameters(_Parameters):
    """Hold what a request says of all its outputs."""

    binary_data_output: bool = False
    abstain_below: float | None = Field(None, ge=0, le=1)
    sequence_id: int | str = 0


class InferInputParameters(_Parameters):
    """Hold what a request says of a tensor that it brings."""

    binary_data_size: int | None = Field(None, ge=0)
    shared_memory_region: str | None = None


class InferOutputParameters(_Parameters):
    """Hold what a request says of a tensor that it wants."""

    binary_data: bool | None = None
    classification: int = 0
    shared_memory_region: str | None = None


class InferInput(BaseModel):
    """Define a tensor that a request brings: its numbers are in `data`, or behind the JSON."""

    model_config = ConfigDict(extra="forbid", strict=True)
    name: str
    datatype: str
    shape: list[int] = Field(min_length=1, max_length=MAX_AXES)
    parameters: InferInputParameters = InferInputParameters()
    data: Any = None


class InferOutput(BaseModel):
    """Define a tensor that a request wants."""

    model_config = ConfigDict(extra="forbid", strict=True)
    name: str
    parameters: InferOutputParameters = InferOutputParameters()


class InferBody(BaseModel):
    """Define the JSON of a request."""

    model_config = ConfigDict(extra="forbid", strict=True)
    id: str | None = None
    inputs: list[InferInput]
    outputs: list[InferOutput] | None = Field(None, max_length=100)
    parameters: InferParameters = InferParameters()


class WantedOutput(NamedTuple):
    """An output that was asked for by name."""

    name: str
    is_binary: bool


class InferRequest(NamedTuple):
    """What a caller asks for."""

    id: str | None
    rows: Rows
    outputs: tuple[WantedOutput, ...]
    """Empty where all are wanted."""
    is_binary: bool
    """How all are wanted."""
    abstain_below: float | None

    def prediction(self, task_id: str, revision: int | None) -> PredictRequest:
        """Return what `POST /predict` would be asked; InvalidRequest, InvalidId."""
        fields = {"task_id": task_id, "revision": revision, "abstain_below": self.abstain_below, "inputs": self.rows}
        return validated(fields, PredictRequest)


def infer_request(body: bytes | bytearray, header_length: str | None, limits: Limits) -> InferRequest:
    """Return the request of a body; `header_length` is its Inference-Header-Content-Length.

    All lengths are looked at before any tensor is made. Raises BodyTooLarge, BadRequest, NotJson, NotFinite,
    InvalidRequest or TooManyRows.
    """
    end = _json_end(header_length, len(body))
    # numbers of JSON alone are read from a body without raw tensors, which is not copied
    text = body if end == len(body) else bytes(memoryview(body)[:end])
    request = validated(json_object(text), InferBody)
    rows = _rows(request, memoryview(body)[end:], limits)
    if request.parameters.sequence_id not in (0, ""):
        raise BadRequest("sequence_id is not taken: no request depends on the ones before it")
    is_binary = request.parameters.binary_data_output
    outputs = tuple(_wanted(output, is_binary) for output in request.outputs or ())
    if len({output.name for output in outputs}) < len(outputs):
        raise BadRequest("an output is asked for more than once")
    return InferRequest(request.id, rows, outputs, is_binary, request.parameters.abstain_below)


def _json_end(header_length: str | None, num_bytes: int) -> int:
    if header_length is None:
        return num_bytes
    if not (header_length.isascii() and header_length.isdigit() and len(header_length) <= 18):
        raise BadRequest("Inference-Header-Content-Length is no number; send the bytes of the JSON at the body's start")
    if int(header_length) > num_bytes:
        raise BadRequest(f"Inference-Header-Content-Length is {header_length}; the body has {num_bytes} bytes")
    return int(header_length)


def _rows(request: InferBody, tail: memoryview, limits: Limits) -> Rows:
    names = [found.name for found in request.inputs]
    if names != [INPUTS]:
        shown = ", ".join(name[:64] for name in names[:5]) or "none"
        raise BadRequest(f"the inputs are {shown}; exactly one is taken, named {INPUTS!r}")
    found = request.inputs[0]
    _check_declared(found, limits)
    size = found.parameters.binary_data_size
    if (size or 0) != len(tail):
        raise BadRequest(f"binary_data_size adds up to {size or 0} bytes; {len(tail)} follow the JSON")
    if size is None:
        return rows_of_json(found.data, found.datatype, found.shape)
    if found.data is not None:
        raise BadRequest("inputs has data and a binary_data_size; send it in one of the two ways")
    return rows_of_bytes(tail, found.datatype, found.shape)


def _check_declared(found: InferInput, limits: Limits) -> None:
    """Refuse a datatype or a shape before any tensor is made of it."""
    if found.parameters.shared_memory_region is not None:
        raise BadRequest("there is no shared memory here; send the inputs in the body")
    if found.datatype not in TAKEN:
        raise BadRequest(f"datatype {found.datatype[:64]!r} is not taken; there are {', '.join(TAKEN)}")
    if any(size < 0 for size in found.shape):
        raise BadRequest(f"inputs has the shape {found.shape}; no size is negative in a request")
    if math.prod(min(max(size, 1), MAX_SIZE) for size in found.shape) >= MAX_SIZE:
        raise BadRequest("the shape of inputs is larger than any body")
    if found.shape[0] > limits.max_query_rows:
        most = f"at most {limits.max_query_rows} (max_query_rows in GET /limits)"
        raise TooManyRows(f"inputs has {found.shape[0]} rows; {most}")
    if found.datatype not in NUMPY_NAMES and math.prod(found.shape) != found.shape[0]:
        raise BadRequest(f"inputs of BYTES has the shape {found.shape}; one element a row is taken")


def _wanted(output: InferOutput, is_binary: bool) -> WantedOutput:
    if output.parameters.classification:
        raise BadRequest("classification is not taken; the outputs labels and probabilities have what it would give")
    if output.parameters.shared_memory_region is not None:
        raise BadRequest("there is no shared memory here; take the outputs from the body")
    chosen = output.parameters.binary_data
    return WantedOutput(output.name, is_binary if chosen is None else chosen)
