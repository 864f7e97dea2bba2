"""Describe a request and how its answer is read, and build requests out of that."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Generic, TypeVar, cast
from uuid import uuid4

from innerloop import wire
from innerloop.encoding import encode
from innerloop.errors import InvalidId, InvalidIdempotencyKey, UnexpectedAnswer

T = TypeVar("T")
Item = TypeVar("Item")

SAFETENSORS = "application/vnd.safetensors"
_ID = re.compile(r"[A-Za-z0-9_-]{1,64}")


@dataclass(frozen=True)
class Call(Generic[T]):
    """Describe one request, and how its answer is read.

    A `repeatable` call may be sent again when nobody knows whether it arrived. Answers with a status in
    `also_reads` are answers and not errors.
    """

    method: str
    path: str
    read: Callable[[bytes], T]
    params: Mapping[str, str] = field(default_factory=dict)
    content: bytes | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    repeatable: bool = True
    also_reads: tuple[int, ...] = ()


def post(
    path: str,
    body: Mapping[str, Any],
    read: Callable[[bytes], T],
    headers: Mapping[str, str] | None = None,
    *,
    repeatable: bool = True,
) -> Call[T]:
    """Build a `POST` of a JSON body."""
    sent = {"Content-Type": "application/json", **(headers or {})}
    return Call("POST", path, read, content=encode(body), headers=sent, repeatable=repeatable)


def deletion(path: str) -> Call[None]:
    """Build a `DELETE`; not repeatable, because a second one answers that there is nothing."""
    return Call("DELETE", path, nothing, repeatable=False)


def next_page(call: Call[wire.Page[Item]], page: wire.Page[Item]) -> Call[wire.Page[Item]] | None:
    """Build the call for the page after this one; None after the last."""
    if not page.has_more or page.next is None:
        return None
    return replace(call, params={**call.params, "after": page.next})


def segment(name: str) -> str:
    """Return an id as a part of a path; raises `InvalidId`."""
    if not _ID.fullmatch(name):
        raise InvalidId(f"{name!r} is no id: 1 to 64 of A-Z a-z 0-9 _ and -")
    return name


def key_headers(key: str | None) -> dict[str, str]:
    """Return the header of an idempotency key; raises `InvalidIdempotencyKey`."""
    if key is None:
        return {}
    if not (key.isascii() and key.isprintable()):
        raise InvalidIdempotencyKey(f"{key!r} cannot stand in a header; use printable ASCII")
    return {"Idempotency-Key": key}


Options = TypeVar("Options", bound=Mapping[str, Any])


def with_key(options: Options) -> Options:
    """Return the options with an idempotency key: theirs, or a new one."""
    return cast(Options, {"idempotency_key": uuid4().hex, **options})


def nothing(_: bytes) -> None:
    """Read an answer that says nothing."""


def safetensors(body: bytes) -> bytes:
    """Return a safetensors file as it came; raises `UnexpectedAnswer` for what is none.

    It starts with the length of its header in 8 bytes, and the header is a JSON object.
    """
    if body[8:9] != b"{" or int.from_bytes(body[:8], "little") > len(body) - 8:
        raise UnexpectedAnswer(f"an answer of {len(body)} bytes that is no safetensors file: {body[:40]!r}")
    return body
