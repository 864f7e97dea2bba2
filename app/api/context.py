"""What every route works with, made once by the composition root."""

import asyncio
import time
from collections.abc import Hashable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Annotated

from fastapi import Depends, Request

from app.api.inference_protocol.statistics import Statistics
from app.api.stages import Stage
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
    reading: Stage
    """Requests are parsed, held against the store and decoded here."""
    writing: Stage
    """Revisions are stored here, those that wait in one transaction."""
    worker: JobWorker | None = None
    """Works on jobs in this process; None where `python -m app worker` does."""
    task_locks: "KeyedLocks" = field(default_factory=lambda: KeyedLocks())
    statistics: Statistics = field(default_factory=Statistics)
    answering: set[Hashable] = field(default_factory=set)
    """(tenant, route, idempotency key) of requests under way."""
    draining: bool = False


class KeyedLocks:
    """A lock for each key, there only while somebody holds it or waits for it; for one event loop."""

    def __init__(self) -> None:
        self._locks: dict[Hashable, _Shared] = {}

    def holding(self, key: Hashable, deadline: float | None) -> "Holding":
        """Let one holder of `key` in at a time, and tell it whether it had to wait.

        DeadlineExceeded at `deadline`, a moment of time.monotonic().
        """
        return Holding(self._locks, key, deadline)


class _Shared:
    """A lock and how many hold it or wait for it."""

    __slots__ = ("lock", "users")

    def __init__(self) -> None:
        self.lock, self.users = asyncio.Lock(), 0


class Holding:
    """The time for which a key is held; a class, since a generator would cost more than the lock."""

    __slots__ = ("_deadline", "_key", "_locks", "_shared")

    def __init__(self, locks: dict[Hashable, _Shared], key: Hashable, deadline: float | None) -> None:
        self._locks, self._key, self._deadline = locks, key, deadline

    async def __aenter__(self) -> bool:
        """Wait for the key."""
        self._shared = shared = self._locks.setdefault(self._key, _Shared())
        shared.users += 1
        if shared.users == 1:
            await shared.lock.acquire()  # at once
            return False
        try:
            await _acquired(shared.lock, self._deadline)
        except BaseException:
            self._leave()
            raise
        return True

    async def __aexit__(self, *error: object) -> None:
        """Let the next one in."""
        self._shared.lock.release()
        self._leave()

    def _leave(self) -> None:
        self._shared.users -= 1
        if not self._shared.users:
            del self._locks[self._key]


async def _acquired(lock: asyncio.Lock, deadline: float | None) -> None:
    try:
        async with asyncio.timeout(None if deadline is None else deadline - time.monotonic()):
            await lock.acquire()
    except TimeoutError as error:
        raise DeadlineExceeded("X-Request-Timeout-Ms passed while an earlier call for this task ran") from error


def limits_of(settings: Settings) -> Limits:
    """Return every cap of the settings as the wire shows it."""
    set_here = Limits.model_fields.keys() & Settings.model_fields.keys()
    return Limits(**{name: getattr(settings, name) for name in set_here})


async def context_of(request: Request) -> Context:
    """Return the context of the app that a request came to; async, since FastAPI takes other functions to a thread."""
    context: Context = request.app.state.context
    return context


async def tenant_of(request: Request) -> str:
    """Return whose request it is."""
    return DEFAULT_TENANT


def now() -> datetime:
    """Return the moment on this machine's clock."""
    return datetime.now(UTC)


InContext = Annotated[Context, Depends(context_of)]
Tenant = Annotated[str, Depends(tenant_of)]
