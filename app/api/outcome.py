"""Who asks, and what the answer is: what every operation that can be repeated safely takes and gives."""

import time
from dataclasses import dataclass
from typing import Any

from app.api.audit import Asker


@dataclass(frozen=True)
class Caller:
    """Who asks, how long they wait, and under which idempotency key."""

    tenant: str
    started: float
    """time.monotonic() at arrival."""
    deadline: float | None
    idempotency_key: str | None
    body_sha256: str
    route: str = "POST /adapt"
    asker: Asker | None = None
    """Who the audit log names; None leaves nothing there."""

    @classmethod
    def of(cls, tenant: str, route: str, idempotency_key: str | None, body_sha256: str) -> "Caller":
        """Return a caller who waits for as long as it takes."""
        return cls(tenant, time.monotonic(), None, idempotency_key, body_sha256, route)


@dataclass(frozen=True)
class Outcome:
    """A status and the answer's JSON."""

    status: int
    answer: dict[str, Any]
