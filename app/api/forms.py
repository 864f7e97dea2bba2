"""In which form a body comes and its answer goes: JSON, or safetensors where the headers name it."""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import orjson
from fastapi import Request

from app.api.binary import MEDIA_TYPE, adapt_request, answer_bytes, is_safetensors, predict_request, wants_safetensors
from app.api.body import JSON, parsed
from app.api.stages import LARGE_BODY_BYTES
from app.safetensors_header import declared_header
from innerloop.wire import AdaptRequest, Limits, PredictRequest

LARGE_TENSOR_BYTES = 4 * 1024 * 1024


def body_media_type(request: Request) -> str:
    """Return the media type that a body of /adapt or /predict is read as."""
    return MEDIA_TYPE if is_safetensors(request.headers.get("Content-Type")) else JSON


def adapt_reader(request: Request, body: bytes, limits: Limits) -> Callable[[], AdaptRequest]:
    """Return what parses a body of /adapt."""
    if is_safetensors(request.headers.get("Content-Type")):
        return partial(adapt_request, body, limits)
    return partial(parsed, body, AdaptRequest)


def predict_reader(request: Request, body: bytes, limits: Limits) -> Callable[[], PredictRequest]:
    """Return what parses a body of /predict."""
    if is_safetensors(request.headers.get("Content-Type")):
        return partial(predict_request, body, limits)
    return partial(parsed, body, PredictRequest)


def takes_long(request: Request, body: bytes) -> bool:
    """Tell whether reading a body would hold up others: tensors are looked at where they lie, JSON is read through."""
    if is_safetensors(request.headers.get("Content-Type")):
        return len(body) > LARGE_TENSOR_BYTES or len(declared_header(body)) > LARGE_BODY_BYTES
    return len(body) > LARGE_BODY_BYTES


def written(request: Request, fields: Mapping[str, Any]) -> tuple[bytes, str]:
    """Return an answer in the form that its caller takes, and its media type."""
    if wants_safetensors(request.headers.get("Accept")):
        return answer_bytes(fields), MEDIA_TYPE
    return orjson.dumps(fields, option=orjson.OPT_SERIALIZE_NUMPY), JSON
