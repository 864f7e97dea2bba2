"""How long a caller waits."""

import re

from fastapi import Request

from innerloop.errors import BadRequest

TIMEOUT_HEADER = "X-Request-Timeout-Ms"
MILLISECONDS = r"^([1-9][0-9]{0,7}(\.[0-9]{1,9})?|0\.0{0,8}[1-9][0-9]{0,8})$"
"""More than none, and less than 28 hours."""
_MILLISECONDS = re.compile(MILLISECONDS)


def deadline_of(request: Request, started: float) -> float | None:
    """Return the moment of time.monotonic() until which the caller waits; BadRequest for a header that is no number."""
    text = request.headers.get(TIMEOUT_HEADER)
    if text is None:
        return None
    if not _MILLISECONDS.fullmatch(text):
        raise BadRequest(f"{TIMEOUT_HEADER} is {text[:32]!r}; milliseconds over 0 and below 100 000 000 are expected")
    return started + float(text) / 1e3
