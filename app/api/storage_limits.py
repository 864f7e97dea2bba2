"""How much a tenant may store: counted in the store, and known in between without asking it each time."""

import threading
import time
from collections.abc import Callable

from app.store import Classes, Usage, document_bytes
from innerloop.errors import StorageUsedUp

COUNT_EVERY_SECONDS = 30.0
"""Other replicas store and delete too."""
COUNTING_SHARE = 0.1
"""The most of the time that counting may take of tenants who are at their limits, all of them together."""
RETRY_AFTER_SECONDS = 60.0
"""What was deleted or has expired is gone by then."""

REVISION_BYTES, ANSWER_BYTES, LOSS_BYTES = 500, 800, 24
"""Of the documents of a revision and of an idempotent answer, beside their classes and losses, and of each loss."""

CountUsage = Callable[[str], Usage]
"""(tenant) -> what is stored of it; blocks."""


def documents_ahead(classes: Classes | None, num_losses: int, *, revision: bool, answer: bool) -> int:
    """Return about how many bytes the documents of a revision, of an idempotent answer or of both will take."""
    shared = document_bytes(classes) + num_losses * LOSS_BYTES
    return revision * (REVISION_BYTES + shared) + answer * (ANSWER_BYTES + shared)


class _Tenant:
    __slots__ = ("counted", "counting", "taken", "usage")

    def __init__(self) -> None:
        self.counting = threading.Lock()
        self.usage = self.taken = Usage(0, 0)
        self.counted = -1e9


class Room:
    """Room in the store for what is being made; it counts as used from when nobody holds it any more."""

    __slots__ = ("_limits", "_more", "_tenant")

    def __init__(self, limits: "StorageLimits", tenant: _Tenant, more: Usage) -> None:
        self._limits, self._tenant, self._more = limits, tenant, more

    def note(self, num_bytes: int) -> None:
        """Say that it takes more bytes than was known."""
        self._limits.change(self._tenant, taken=Usage(0, num_bytes))
        self._more = _sum(self._more, Usage(0, num_bytes))

    def __del__(self) -> None:
        self._limits.change(self._tenant, taken=Usage(-self._more.num_tasks, -self._more.num_bytes), used=self._more)


class StorageLimits:
    """Refuses what a tenant has no room for, before anything is computed; 0 is no limit. Any thread may ask.

    What was let in counts at once, what was deleted when it is counted again; a tenant at the limit is counted anew
    before it is refused, unless much was counted lately.
    """

    def __init__(
        self, max_tasks: int, max_bytes: int, count: CountUsage, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._max_tasks, self._max_bytes = max_tasks, max_bytes
        self._count, self._clock = count, clock
        self._guard = threading.RLock()  # a collection of garbage may give room back at any point
        self._tenants: dict[str, _Tenant] = {}
        self._count_again_at = -1e9

    def take(self, tenant: str, *, num_tasks: int = 0, num_bytes: int = 0) -> Room | None:
        """Take room for more, None where there is no limit; blocks. StorageUsedUp, and what the store raises."""
        if not (self._max_tasks or self._max_bytes):
            return None
        more = Usage(num_tasks, num_bytes)
        with self._guard:
            ours = self._tenants.setdefault(tenant, _Tenant())
        with ours.counting:  # other tenants do not wait for what it takes to count this one's
            self._count_again(tenant, ours, more)
            with self._guard:
                over = self._what_is_over(ours, more)
                if over:
                    raise StorageUsedUp(over, retry_after_seconds=RETRY_AFTER_SECONDS)
                ours.taken = _sum(ours.taken, more)
        return Room(self, ours, more)

    def _count_again(self, tenant: str, ours: _Tenant, more: Usage) -> None:
        """Count what is stored of a tenant, where that was long ago or `more` has no room."""
        now = self._clock()
        is_old = now - ours.counted >= COUNT_EVERY_SECONDS
        may_count = now >= self._count_again_at
        with self._guard:
            known = ours.usage
            if not is_old and not (may_count and self._what_is_over(ours, more)):
                return
        found = self._count(tenant)
        with self._guard:  # what was stored meanwhile may be in what was found or not: it counts once more
            since = Usage(ours.usage.num_tasks - known.num_tasks, ours.usage.num_bytes - known.num_bytes)
            ours.usage = _sum(found, since)
            ended = self._clock()
            ours.counted, self._count_again_at = now, ended + (ended - now) / COUNTING_SHARE

    def change(self, tenant: _Tenant, *, taken: Usage, used: Usage = Usage(0, 0)) -> None:
        """Count room that was taken or given back."""
        with self._guard:
            tenant.taken, tenant.usage = _sum(tenant.taken, taken), _sum(tenant.usage, used)

    def _what_is_over(self, ours: _Tenant, more: Usage) -> str | None:
        used = _sum(ours.usage, ours.taken)
        if self._max_tasks and more.num_tasks and used.num_tasks + more.num_tasks > self._max_tasks:
            return f"you have {used.num_tasks} tasks; at most {self._max_tasks} are kept for you"
        if self._max_bytes and used.num_bytes + max(1, more.num_bytes) > self._max_bytes:
            return (
                f"you have stored {used.num_bytes} bytes, and {more.num_bytes} more are needed; "
                f"at most {self._max_bytes} are kept for you"
            )
        return None


def _sum(one: Usage, other: Usage) -> Usage:
    return Usage(one.num_tasks + other.num_tasks, one.num_bytes + other.num_bytes)
