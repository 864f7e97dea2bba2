"""How long a caller waits."""

import math
import re

from fastapi import Request

from innerloop.errors import BadRequest

TIMEOUT_HEADER = "X-Request-Timeout-Ms"
MAX_TIMEOUT_MS = 86_400_000
MILLISECONDS = re.compile(r"[0-9]{1,9}(\.[0-9]{1,9})?", re.ASCII)


def deadline_of(request: Request, started: float) -> float | None:
    """Return the moment of time.monotonic() until which the caller waits; BadRequest for a header that is no number."""
    text = request.headers.get(TIMEOUT_HEADER)
    if text is None:
        return None
    milliseconds = float(text) if MILLISECONDS.fullmatch(text) else math.nan
    if not 0 < milliseconds <= MAX_TIMEOUT_MS:
        raise BadRequest(f"{TIMEOUT_HEADER} is {text!r}; milliseconds over 0 and up to {MAX_TIMEOUT_MS} are expected")
    return started + milliseconds / 1e3
