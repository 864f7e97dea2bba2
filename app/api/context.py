"""What every route works with, made once by the composition root."""

from collections.abc import Hashable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Annotated

from fastapi import Depends, Request

from app.api.inference_protocol.statistics import Statistics
from app.api.stages import Stage
from app.api.turns import Turns
from app.engine.engine import Engine
from app.jobs.worker import JobWorker
from app.settings import Settings
from app.store import Store
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
    turns: Turns = field(default_factory=Turns)
    """Of adapting a task: (tenant, task id)."""
    statistics: Statistics = field(default_factory=Statistics)
    answering: set[Hashable] = field(default_factory=set)
    """(tenant, route, idempotency key) of requests under way."""
    draining: bool = False

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


async def tenant_of(request: Request) -> str:
    """Return whose request it is."""
    return DEFAULT_TENANT


def now() -> datetime:
    """Return the moment on this machine's clock."""
    return datetime.now(UTC)


InContext = Annotated[Context, Depends(context_of)]
Tenant = Annotated[str, Depends(tenant_of)]
