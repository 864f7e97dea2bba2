"""What every route works with, made once by the composition root."""

import asyncio
from collections.abc import Hashable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Annotated
from weakref import WeakValueDictionary

from anyio import CapacityLimiter
from fastapi import Depends, Request

from app.api.body_room import BodyRoom
from app.api.inference_protocol.statistics import Statistics
from app.api.key_watch import KeyWatch
from app.api.request_counts import RequestCounts
from app.api.stages import Stage
from app.api.storage_limits import Room, StorageLimits
from app.api.tenant_limits import TenantLimits
from app.api.threads import ThreadShares
from app.api.tracing import Tracing
from app.api.turns import Turns
from app.engine.engine import Engine
from app.engine.load import Load
from app.jobs.worker import JobWorker
from app.settings import Settings
from app.store import Store
from innerloop.wire import Limits

DEFAULT_TENANT = "default"
"""Everybody's tenant while there are no keys; its models are shared with all tenants."""

MOST_PLANNED = 2
"""A data set in memory may be a thousand times its file, up to max_dataset_bytes."""

LARGEST_BODIES = 16
"""So many bodies of the largest size may be on their way at once, in bytes."""
SHARE_OF_LINES = 4
"""So many tenants may have batches of their most calls under way before a line is full."""


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
    rates: TenantLimits
    """How often a tenant may ask, where keys are configured."""
    storage: StorageLimits
    """How much a tenant may store, where keys are configured."""
    load: Load
    """Lets work in to the device."""
    identifying: Stage
    """Keys are looked up here, where there are any."""
    looking: Stage
    """Whether requests will be answered is looked at here."""
    keys: KeyWatch
    worker: JobWorker | None = None
    """Works on jobs in this process; None where `python -m app worker` does."""
    turns: Turns = field(default_factory=Turns)
    """Of adapting a task: (tenant, task id)."""
    statistics: Statistics = field(default_factory=Statistics)
    requests: RequestCounts = field(default_factory=RequestCounts)
    tracing: Tracing | None = None
    """None where no collector of traces is configured."""
    answering: set[Hashable] = field(default_factory=set)
    """(tenant, route, idempotency key) of requests under way."""
    threads: ThreadShares = field(default_factory=ThreadShares)
    planning: CapacityLimiter = field(default_factory=lambda: CapacityLimiter(MOST_PLANNED))
    """Of jobs that are to be queued, those whose data sets are loaded to see that they fit."""
    draining: bool = False
    body_room: BodyRoom = field(init=False)
    _rooms: WeakValueDictionary[str, asyncio.Semaphore] = field(default_factory=WeakValueDictionary)

    def take_room(self, tenant: str, *, num_tasks: int = 0, num_bytes: int = 0) -> Room | None:
        """Take room in the store for something of a tenant's, before it is made; StorageUsedUp. Blocks."""
        if not self.keys.are_configured:
            return None
        return self.storage.take(tenant, num_tasks=num_tasks, num_bytes=num_bytes)

    def __post_init__(self) -> None:
        self.body_room = BodyRoom(LARGEST_BODIES * self.limits.max_body_bytes)

    @property
    def stages(self) -> tuple[Stage, ...]:
        """The stages that requests pass beside the device."""
        return self.identifying, self.reading, self.writing

    def room_for_calls(self, tenant: str) -> asyncio.Semaphore:
        """Return what lets the calls of a tenant's batches in, so many at once that others find room in the lines."""
        most = max(1, min(self.limits.max_batch_requests, self.limits.max_queue_depth // SHARE_OF_LINES))
        return self._rooms.setdefault(tenant, asyncio.Semaphore(most))

    @property
    def max_queued_of_tenant(self) -> int:
        """Jobs that may wait of one tenant; 0, any number, where no key is configured."""
        return self.limits.tenant_jobs_queued if self.keys.are_configured else 0

    @property
    def queue_depth(self) -> int:
        """Requests that wait for the device or run on it, those that are still to be read included."""
        return self.reading.depth + self.engine.queue_depth


def limits_of(settings: Settings) -> Limits:
    """Return every cap of the settings as the wire shows it."""
    set_here = Limits.model_fields.keys() & Settings.model_fields.keys()
    return Limits(**{name: getattr(settings, name) for name in set_here})


async def context_of(request: Request) -> Context:
    """Return the context of the app that a request came to; async, since FastAPI takes other functions to a thread."""
    context: Context = request.app.state.context
    return context


def now() -> datetime:
    """Return the moment on this machine's clock."""
    return datetime.now(UTC)


InContext = Annotated[Context, Depends(context_of)]
