"""Request bodies: read up to a cap, parsed by the fast parser, validated against a wire model."""

import json
import math
from collections.abc import Callable
from typing import Any, TypeVar

import orjson
from fastapi import Request
from pydantic import BaseModel, ValidationError

from app.api.problems import MAX_FIELDS, invalid_request
from innerloop.errors import BodyTooLarge, InvalidRequest, NotFinite, NotJson, UnsupportedMediaType

Body = TypeVar("Body", bound=BaseModel)
JSON = "application/json"


async def read_body(request: Request, max_bytes: int, media_type: str = JSON) -> bytes:
    """Return the body of a request with a body of `media_type`.

    Raises BodyTooLarge while reading, whether or not a length was declared, and UnsupportedMediaType.
    """
    _check_media_type(request, media_type)
    declared = request.headers.get("Content-Length", "")
    if declared.isdigit() and int(declared) > max_bytes:
        raise too_large(max_bytes)
    chunks, size = [], 0
    async for chunk in request.stream():
        size += len(chunk)
        if size > max_bytes:
            raise too_large(max_bytes)
        chunks.append(chunk)
    return b"".join(chunks)


def parsed(body: bytes, model: type[Body]) -> Body:
    """Return the body as a wire model; NotJson, NotFinite, InvalidRequest or InvalidId when it is none."""
    document = _json(body)
    if not isinstance(document, dict):
        raise InvalidRequest(f"the body is a JSON {_json_name(document)}; an object is expected")
    for name, part in [("the body", document), *document.items()]:
        if isinstance(part, dict) and len(part) > MAX_FIELDS:
            raise InvalidRequest(f"{name[:64]} has {len(part)} fields; no object of the contract has as many")
    try:
        return model.model_validate(document)
    except ValidationError as error:
        raise invalid_request(error.errors(include_url=False, include_input=False)) from error


def _json(body: bytes) -> Any:
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError as error:
        if _is_json_but_for_numbers(body):
            raise NotFinite("the body holds NaN, Infinity or a number too large for a float") from error
        raise NotJson(f"the body is not JSON: {error}") from error


def _is_json_but_for_numbers(body: bytes) -> bool:
    """Tell whether numbers are all that the fast parser refuses: NaN, Infinity, 1e400, integers of any length."""
    found: list[str] = []
    try:
        json.loads(
            body.decode("utf-8"), parse_constant=found.append, parse_float=_noting(found), parse_int=_noting(found)
        )
    except (ValueError, RecursionError):
        return False
    return bool(found)


def _noting(found: list[str]) -> Callable[[str], None]:
    """Return a parser of numbers that notes those which no float64 holds."""

    def parse(text: str) -> None:
        if math.isinf(float(text)):
            found.append(text)

    return parse


def _json_name(document: Any) -> str:
    names = {list: "array", str: "string", bool: "boolean", type(None): "null"}
    return names.get(type(document), "number")


def _check_media_type(request: Request, media_type: str) -> None:
    kind = request.headers.get("Content-Type", media_type).partition(";")[0].strip().lower()
    if media_type == JSON:
        taken = kind == JSON or (kind.startswith("application/") and kind.endswith("+json"))
    else:
        taken = kind in (media_type, "application/octet-stream")
    if not taken:
        raise UnsupportedMediaType(f"Content-Type {kind!r} is not taken; send {media_type}")
    encoding = request.headers.get("Content-Encoding", "identity").strip().lower()
    if encoding not in ("", "identity"):
        raise UnsupportedMediaType(f"Content-Encoding {encoding!r} is not taken; send the body as it is")


def too_large(max_bytes: int) -> BodyTooLarge:
    """Return the error of a body over the cap."""
    return BodyTooLarge(f"the body is larger than the {max_bytes} bytes that are taken here")
