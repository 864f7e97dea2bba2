"""What was let in to a worker and is not done yet, in seconds of its work, and whether more is let in."""

import math
import threading
import time
from collections.abc import Callable, Hashable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import NamedTuple

from innerloop.errors import Overloaded, ShareUsedUp

CALM_SECONDS = 1.0
"""So long after the last refusal the rush is over, and so long after its last request a tenant is gone."""
RECENT = 0.1
"""The share of a newer measurement in what is remembered of a kind of request."""
MOST_KINDS = 10_000
LEAST_RETRY_SECONDS = 1.0


class LoadLimits(NamedTuple):
    """How much work may wait."""

    burst_seconds: float = 1.0
    """What is let in of a burst, and of callers who each wait for their answer: the last one waits so long."""
    rush_seconds: float = 0.1
    """What is let in while more comes than can be done: a longer queue would make all wait, and do no more work."""
    burst_requests: int = 32
    rush_requests: int = 8
    """Fewer are let in however long each takes: a few callers with much to do are no flood."""


class Work:
    """What a request costs a worker: what is left of it by estimate, and what was spent."""

    __slots__ = ("is_here", "is_of_many", "kind", "left", "load", "spent", "tenant")

    def __init__(self, load: "Load", tenant: str, kind: Hashable, seconds: float, *, is_of_many: bool) -> None:
        self.load, self.tenant, self.kind = load, tenant, kind
        self.left, self.spent = seconds, 0.0
        self.is_here, self.is_of_many = True, is_of_many


class _Tenant:
    """What a tenant has in here."""

    __slots__ = ("num", "seconds", "seen")

    def __init__(self) -> None:
        self.num, self.seconds, self.seen = 0, 0.0, 0.0


class _Cost:
    """What a kind of request costs: an average of the recent ones, and at first of all."""

    __slots__ = ("num", "seconds")

    def __init__(self) -> None:
        self.num, self.seconds = 0, 0.0

    def note(self, seconds: float) -> None:
        """Remember a measurement, but for the first one: it has loaded and warmed up what later ones find there."""
        if self.num:
            self.seconds += max(RECENT, 1 / self.num) * (seconds - self.seconds)
        self.num += 1


_work: ContextVar[Work | None] = ContextVar("work", default=None)
current_work = _work.get
"""Return the work of the request that this runs for, None where it is nobody's."""


class Load:
    """Lets work in up to a backlog, measured in seconds of the one thread that does it, and fairly among tenants.

    A burst may queue. Once not all of it could, more comes than can be done: the queue is then held at a length that
    keeps the thread busy and no longer, until nothing had to be refused for a while. A tenant that has less than its
    share in here is let in even then: one that floods uses up its own share alone. What a request costs is what others
    of its kind did cost; once it is known what it asks for, what that did cost. Any thread may call.
    """

    def __init__(self, limits: LoadLimits | None = None, clock: Callable[[], float] = time.monotonic) -> None:
        self._limits, self._clock = limits or LoadLimits(), clock
        self._guard = threading.Lock()
        self._seconds = 0.0
        self._num = 0
        self._tenants: dict[str, _Tenant] = {}
        self._costs: dict[Hashable, _Cost] = {}
        self._running_seconds, self._running_since = 0.0, 0.0
        self._last_refused = -math.inf
        self._swept = 0.0
        self.num_refused = 0

    @property
    def backlog_seconds(self) -> float:
        """Seconds of work that are let in and not done."""
        with self._guard:
            return self._backlog(self._clock())

    @property
    def is_shared(self) -> bool:
        """Whether more than one tenant has asked for something lately."""
        return len(self._tenants) > 1

    @contextmanager
    def work(self, tenant: str, kind: Hashable, *, is_of_many: bool = False) -> Iterator[Work]:
        """Let a request in, for as long as it is worked on; Overloaded, ShareUsedUp.

        What is run meanwhile counts as the request's work. What a tenant's requests of a kind did cost is expected of
        the next one; of its first ones what those of all tenants did. With `is_of_many` it is one request for many
        calls: they are let in with it, as a whole.
        """
        outer = _work.get()
        if outer is not None and outer.is_of_many:
            yield outer
            return
        work = self._enter(tenant, kind, is_of_many=is_of_many)
        token = _work.set(work)
        try:
            yield work
        finally:
            _work.reset(token)
            self._leave(work)

    def expect(self, work: Work, seconds: float) -> None:
        """Say how much of a request is left, now that it is known what it asks for."""
        with self._guard:
            if work.is_here and not work.is_of_many:
                self._change(work, seconds - work.left)

    def begin(self, works: Sequence[Work | None]) -> None:
        """Say that the thread takes these up now."""
        with self._guard:
            self._running_seconds = sum(work.left for work in works if work)
            self._running_since = self._clock()

    def end(self, works: Sequence[Work | None], seconds: float) -> None:
        """Say that the thread has done what it took up, which took `seconds` for all of them."""
        each = seconds / max(1, len(works))
        with self._guard:
            self._running_seconds = 0.0
            for work in works:
                if work and work.is_here:  # its caller may have gone away meanwhile
                    work.spent += each
                    self._change(work, -min(each, work.left))

    def spend(self, work: Work, seconds: float) -> None:
        """Say that a request took so long in a thread of its own."""
        with self._guard:
            if work.is_here:
                work.spent += seconds
                self._change(work, -min(seconds, work.left))

    def _enter(self, tenant: str, kind: Hashable, *, is_of_many: bool) -> Work:
        now = self._clock()
        with self._guard:
            self._sweep(now)
            ours = self._tenants.get(tenant)
            if ours is None:
                ours = self._tenants[tenant] = _Tenant()
            ours.seen = now
            self._check(now, ours)
            work = Work(self, tenant, kind, self._expected(tenant, kind), is_of_many=is_of_many)
            ours.num += 1
            ours.seconds += work.left
            self._num += 1
            self._seconds += work.left
        return work

    def _expected(self, tenant: str, kind: Hashable) -> float:
        """Return what one of a kind costs a tenant, or where that is not known, all tenants; 0 where that is not."""
        for key in ((tenant, kind), kind):
            cost = self._costs.get(key)
            if cost is not None and cost.num > 1:
                return cost.seconds
        return 0.0

    def _leave(self, work: Work) -> None:
        with self._guard:
            self._change(work, -work.left)
            work.is_here = False
            self._tenants[work.tenant].num -= 1
            self._num -= 1
            if not self._num:
                self._seconds = 0.0  # whatever rounding has left
            if work.spent:
                if len(self._costs) >= MOST_KINDS:
                    self._costs.clear()
                for kind in (work.kind, (work.tenant, work.kind)):
                    self._costs.setdefault(kind, _Cost()).note(work.spent)

    def _check(self, now: float, ours: _Tenant) -> None:
        """Raise if there is no room for one more of this tenant's."""
        backlog = self._backlog(now)
        in_rush = now - self._last_refused < CALM_SECONDS
        burst_seconds, rush_seconds, burst_requests, rush_requests = self._limits
        limit, few = (rush_seconds, rush_requests) if in_rush else (burst_seconds, burst_requests)
        if backlog <= limit or self._num < few:
            return
        share = 1 / len(self._tenants)
        if ours.seconds <= limit * share or ours.num < few * share:
            return
        self._last_refused = now
        self.num_refused += 1
        retry_after = max(LEAST_RETRY_SECONDS, backlog - limit)
        if len(self._tenants) > 1:
            raise ShareUsedUp(
                f"the service is full, and {ours.seconds:.3g} s of the {backlog:.3g} s of work that wait are yours, "
                f"which is more than a share of {len(self._tenants)}",
                retry_after_seconds=retry_after,
            )
        raise Overloaded(
            f"{backlog:.3g} s of work wait; {limit:.3g} s may now",
            retry_after_seconds=retry_after,
        )

    def _backlog(self, now: float) -> float:
        done = min(self._running_seconds, now - self._running_since) if self._running_seconds else 0.0
        return max(0.0, self._seconds - done)

    def _change(self, work: Work, seconds: float) -> None:
        work.left += seconds
        self._seconds += seconds
        self._tenants[work.tenant].seconds += seconds

    def _sweep(self, now: float) -> None:
        """Forget tenants that have asked for nothing for a while: what they could have had is the others'."""
        if len(self._tenants) > 1 and now - self._swept >= CALM_SECONDS / 4:
            self._swept = now
            for name in [name for name, one in self._tenants.items() if _is_idle(one, now)]:
                del self._tenants[name]


def _is_idle(tenant: _Tenant, now: float) -> bool:
    return not tenant.num and now - tenant.seen >= CALM_SECONDS
