"""JSON documents as the database keeps them."""

import json
from typing import Any, NamedTuple

import orjson

_STRICT = json.JSONEncoder(allow_nan=False, separators=(",", ":"))


class Document(NamedTuple):
    """Hold a document as text, and the value that comes back from it: tuples as lists, keys as strings."""

    text: str
    value: Any


def as_document(value: Any) -> Document:
    """Return the document of a value; ValueError on NaN and infinity, which are no JSON and PostgreSQL refuses."""
    try:
        data = orjson.dumps(value)
    except TypeError:  # keys that are no strings, half surrogates, integers beyond 64 bits
        return _by_the_book(value)
    stored = orjson.loads(data)
    # orjson writes NaN as null, which is then not equal. What is not ASCII would depend on the database's encoding.
    if not data.isascii() or (b"null" in data and stored != value):
        return _by_the_book(value)
    return Document(data.decode("ascii"), stored)


def dump_json(value: Any) -> str:
    """Return compact JSON; ValueError as `as_document`."""
    return as_document(value).text


def document_bytes(value: Any) -> int:
    """Return how many bytes a document takes; ValueError as `as_document`."""
    return len(as_document(value).text)


def load_json(text: str | bytes) -> Any:
    """Return the value of a document."""
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError:  # half surrogates, which the standard library alone takes
        return json.loads(text)


def as_stored(value: Any) -> Any:
    """Return the value as it comes back from the database: tuples as lists, keys as strings."""
    return as_document(value).value


def _by_the_book(value: Any) -> Document:
    text = _STRICT.encode(value)
    return Document(text, json.loads(text))
