"""What every route works with, made once by the composition root."""

import asyncio
import time
from collections.abc import AsyncIterator, Hashable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Annotated

from fastapi import Depends, Request

from app.engine.engine import Engine
from app.jobs.worker import JobWorker
from app.settings import Settings
from app.store import Store
from innerloop.errors import DeadlineExceeded
from innerloop.wire import Limits

DEFAULT_TENANT = "default"
"""Everybody's tenant until there are keys."""


@dataclass
class Context:
    """The parts behind the routes, and the little that requests share while they run."""

    settings: Settings
    limits: Limits
    store: Store
    engine: Engine
    worker: JobWorker | None = None
    """Works on jobs in this process; None where `python -m app worker` does."""
    task_locks: "KeyedLocks" = field(default_factory=lambda: KeyedLocks())
    answering: set[Hashable] = field(default_factory=set)
    """(tenant, route, idempotency key) of requests under way."""
    draining: bool = False


class KeyedLocks:
    """A lock for each key, there only while somebody holds it or waits for it; for one event loop."""

    def __init__(self) -> None:
        self._locks: dict[Hashable, tuple[asyncio.Lock, int]] = {}

    @asynccontextmanager
    async def holding(self, key: Hashable, deadline: float | None) -> AsyncIterator[None]:
        """Let one holder of `key` in at a time; DeadlineExceeded at `deadline`, a moment of time.monotonic()."""
        lock, users = self._locks.get(key, (asyncio.Lock(), 0))
        self._locks[key] = (lock, users + 1)
        try:
            await _acquired(lock, deadline)
            try:
                yield
            finally:
                lock.release()
        finally:
            _, users = self._locks.pop(key)
            if users > 1:
                self._locks[key] = (lock, users - 1)


async def _acquired(lock: asyncio.Lock, deadline: float | None) -> None:
    remaining = None if deadline is None else deadline - time.monotonic()
    try:
        async with asyncio.timeout(remaining):
            await lock.acquire()
    except TimeoutError as error:
        raise DeadlineExceeded("X-Request-Timeout-Ms passed while an earlier call for this task ran") from error


def limits_of(settings: Settings) -> Limits:
    """Return every cap of the settings as the wire shows it."""
    set_here = Limits.model_fields.keys() & Settings.model_fields.keys()
    return Limits(**{name: getattr(settings, name) for name in set_here})


def context_of(request: Request) -> Context:
    """Return the context of the app that a request came to."""
    context: Context = request.app.state.context
    return context


def tenant_of(request: Request) -> str:
    """Return whose request it is."""
    return DEFAULT_TENANT


def now() -> datetime:
    """Return the moment on this machine's clock."""
    return datetime.now(UTC)


InContext = Annotated[Context, Depends(context_of)]
Tenant = Annotated[str, Depends(tenant_of)]
