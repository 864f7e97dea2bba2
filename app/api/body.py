"""Request bodies: read up to a cap, parsed by the fast parser, validated against a wire model."""

import json
import math
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any, TypeVar

import orjson
from fastapi import Request
from pydantic import BaseModel, ValidationError

from app.api.body_room import BodyRoom
from app.api.compression import encoding_of, too_large, unpacked
from app.api.context import DEFAULT_TENANT
from app.api.identity import STATE
from app.api.json_memory import check_memory
from app.api.problems import MAX_FIELDS, invalid_request
from app.api.threads import in_thread
from app.store import Identity
from innerloop.errors import InvalidRequest, NotFinite, NotJson, UnsupportedMediaType

Body = TypeVar("Body", bound=BaseModel)
JSON = "application/json"


async def read_body(request: Request, max_bytes: int, media_type: str = JSON) -> bytes:
    """Return the body of a request with a body of `media_type`, as `read_bytes` does; UnsupportedMediaType."""
    _check_media_type(request, media_type)
    return await read_bytes(request, max_bytes)


async def read_bytes(request: Request, max_bytes: int) -> bytes:
    """Return a body whatever its type, unpacked where it is compressed.

    Raises BodyTooLarge while reading, whether or not a length was declared, and for what would be too large once
    unpacked; Overloaded where too many large bodies are under way; BadRequest for what cannot be unpacked, and
    UnsupportedMediaType for a compression that is not taken.
    """
    encoding = encoding_of(request)
    body = await _read(request, max_bytes)
    return body if encoding is None else await in_thread(unpacked, body, encoding, max_bytes)


async def _read(request: Request, max_bytes: int) -> bytes:
    declared = request.headers.get("Content-Length", "")
    if declared.isdigit() and int(declared) > max_bytes:
        raise too_large(max_bytes)
    chunks, size = [], 0
    with _body_room(request) as grow:
        async for chunk in request.stream():
            size += len(chunk)
            if size > max_bytes:
                raise too_large(max_bytes)
            grow(size)
            chunks.append(chunk)
    return b"".join(chunks)


def _body_room(request: Request) -> AbstractContextManager[Callable[[int], None]]:
    """Return what counts the bytes of a body that is coming."""
    identity: Identity | None = request.scope["state"].get(STATE)
    tenant = identity.tenant if identity else DEFAULT_TENANT
    room: BodyRoom = request.app.state.context.body_room
    return room.reading(tenant, of_several=identity is not None)


def parsed(body: bytes, model: type[Body]) -> Body:
    """Return the body as a wire model; InvalidRequest or InvalidId when it is none, and what `json_object` raises."""
    return validated(json_object(body), model)


def json_list(text: bytes, what: str = "the body") -> list[Any]:
    """Return a JSON array; BodyTooLarge, NotJson, NotFinite or InvalidRequest when `what` is none."""
    document = _json(text, what)
    if not isinstance(document, list):
        raise InvalidRequest(f"{what} is a JSON {_json_name(document)}; an array is expected")
    return document


def checked_object(document: Any, what: str) -> dict[str, Any]:
    """Return a parsed document that is an object of no more fields than any of the contract; InvalidRequest."""
    if not isinstance(document, dict):
        raise InvalidRequest(f"{what} is a JSON {_json_name(document)}; an object is expected")
    for name, part in [(what, document), *document.items()]:
        if isinstance(part, dict) and len(part) > MAX_FIELDS:
            raise InvalidRequest(f"{name[:64]} has {len(part)} fields; no object of the contract has as many")
    return document


def json_object(text: bytes | bytearray | str, what: str = "the body") -> dict[str, Any]:
    """Return a JSON object; BodyTooLarge, NotJson, NotFinite or InvalidRequest when `what` is none."""
    return checked_object(_json(text, what), what)


def validated(document: dict[str, Any], model: type[Body]) -> Body:
    """Return an object as a wire model; InvalidRequest or InvalidId when it is none."""
    try:
        return model.model_validate(document)
    except ValidationError as error:
        raise invalid_request(error.errors(include_url=False, include_input=False)) from error


def _json(text: bytes | bytearray | str, what: str) -> Any:
    check_memory(text, what)
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError as error:
        if _is_json_but_for_numbers(text):
            raise NotFinite(f"{what} holds NaN, Infinity or a number too large for a float") from error
        raise NotJson(f"{what} is not JSON: {error}") from error


class _Numbers:
    """Parses numbers to nothing, and notes whether there was one that no float64 holds."""

    def __init__(self) -> None:
        self.some_not_finite = False

    def parse(self, text: str) -> None:
        if math.isinf(float(text)):
            self.some_not_finite = True

    def parse_constant(self, _text: str) -> None:
        self.some_not_finite = True


def _is_json_but_for_numbers(text: bytes | bytearray | str) -> bool:
    """Tell whether numbers are all that the fast parser refuses: NaN, Infinity, 1e400, integers of any length."""
    numbers = _Numbers()
    try:
        document = text if isinstance(text, str) else text.decode("utf-8")
        json.loads(document, parse_constant=numbers.parse_constant, parse_float=numbers.parse, parse_int=numbers.parse)
    except (ValueError, RecursionError):
        return False
    return numbers.some_not_finite


def _json_name(document: Any) -> str:
    names = {dict: "object", list: "array", str: "string", bool: "boolean", type(None): "null"}
    return names.get(type(document), "number")


def _check_media_type(request: Request, media_type: str) -> None:
    kind = request.headers.get("Content-Type", media_type).partition(";")[0].strip().lower()
    if media_type == JSON:
        taken = kind == JSON or (kind.startswith("application/") and kind.endswith("+json"))
    else:
        taken = kind in (media_type, "application/octet-stream")
    if not taken:
        raise UnsupportedMediaType(f"Content-Type {kind!r} is not taken; send {media_type}")
