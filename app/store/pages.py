"""Pages of a list: at most `limit` rows and a cursor that says where the next ones start."""

import base64
import binascii
import re
from collections.abc import Callable, Sequence
from typing import TypeVar

from innerloop.errors import InvalidRequest

MAX_LIMIT = 500
_KEY = re.compile(r"[A-Za-z0-9_-]{1,64}")  # of ids, names and numbers

R = TypeVar("R")


def page_of(rows: Sequence[R], limit: int, kind: str, key: Callable[[R], str | int]) -> tuple[Sequence[R], str | None]:
    """Cut `limit + 1` rows down to a page; return it and the cursor of the next one, None on the last.

    `kind` names the list, so that the cursor of one is refused by another.
    """
    if len(rows) <= limit:
        return rows, None
    return rows[:limit], _cursor(kind, key(rows[limit - 1]))


def key_after(kind: str, after: str | None) -> str | None:
    """Return the key in a cursor, None for the start; InvalidRequest when it is no cursor of `kind`."""
    if after is None:
        return None
    try:
        found_kind, _, key = base64.b64decode(after, altchars=b"-_", validate=True).decode().partition(":")
    except (binascii.Error, ValueError) as error:
        raise refused(kind) from error
    if found_kind != kind or not _KEY.fullmatch(key):
        raise refused(kind)
    return key


def number_after(kind: str, after: str | None) -> int | None:
    """Return the number in the cursor `after`, as `key_after` returns a key."""
    key = key_after(kind, after)
    if key is None:
        return None
    if not key.isdecimal():
        raise refused(kind)
    return int(key)


def check_limit(limit: int) -> None:
    """Raise InvalidRequest unless 1 <= limit <= 500."""
    if not 1 <= limit <= MAX_LIMIT:
        detail = f"limit: expected 1 to {MAX_LIMIT}, got {limit}"
        raise InvalidRequest(detail, errors=[{"loc": ["query", "limit"], "msg": detail}])


def refused(kind: str) -> InvalidRequest:
    """Make the error of a cursor that is none of a list of `kind`."""
    detail = f"after: expected the `next` of a page of {kind}, got something else; start without it"
    return InvalidRequest(detail, errors=[{"loc": ["query", "after"], "msg": detail}])


def _cursor(kind: str, key: str | int) -> str:
    return base64.urlsafe_b64encode(f"{kind}:{key}".encode()).decode()
