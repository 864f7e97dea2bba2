"""Threads for what waits for the store or computes by itself: of those there are, a tenant has a share."""

from collections.abc import Callable
from contextvars import ContextVar
from typing import TypeVar, TypeVarTuple
from weakref import WeakValueDictionary

from anyio import CapacityLimiter, to_thread

Result = TypeVar("Result")
Arguments = TypeVarTuple("Arguments")

MOST_OF_TENANT = 10
"""Of 40 that the event loop's pool has."""

_share: ContextVar[CapacityLimiter | None] = ContextVar("share", default=None)


class ThreadShares:
    """Gives each tenant a share of the threads: what it asks for beyond waits for itself, and others find threads."""

    def __init__(self, most: int = MOST_OF_TENANT) -> None:
        self._most = most
        self._shares: WeakValueDictionary[str, CapacityLimiter] = WeakValueDictionary()

    def enter(self, tenant: str) -> None:
        """Let the request that this runs for, from here on, use its tenant's share alone."""
        share = self._shares.get(tenant)
        if share is None:
            share = self._shares[tenant] = CapacityLimiter(self._most)
        _share.set(share)


async def in_thread(
    work: Callable[[*Arguments], Result], *arguments: *Arguments, limiter: CapacityLimiter | None = None
) -> Result:
    """Return what `work` gives in a thread of its tenant's share, where it has one; with `limiter`, within that too."""
    share = _share.get()
    if share is None:
        return await to_thread.run_sync(work, *arguments, limiter=limiter)
    async with share:
        return await to_thread.run_sync(work, *arguments, limiter=limiter)
