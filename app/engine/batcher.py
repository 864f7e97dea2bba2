"""Items that wait for a worker and run together by bucket; the one place with futures."""

import asyncio
import math
import threading
import time
from bisect import bisect_left
from collections import deque
from collections.abc import Callable, Hashable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

from app.current_request import StageTime
from app.engine.histogram import SECONDS, SIZES, no_counts
from app.engine.ticket import Onward, Then, Ticket, Timed
from app.engine.worker import Worker
from innerloop.errors import DeadlineExceeded, Draining, Overloaded

Item = TypeVar("Item")
Result = TypeVar("Result")
RETRY_AFTER_SECONDS = 1.0
SHARED_BATCH_SECONDS = 0.025
"""What a tenant waits for at most, once there are several, before it is its turn, as far as work can be divided."""

RunBatch = Callable[[Hashable, list[Item]], "Sequence[Result | Exception]"]
"""(bucket, items) -> a result or an error for each, in order; what it raises is everybody's error."""


@dataclass(slots=True)
class Counters:
    """What a batcher has done since it began."""

    batches: int = 0
    items: int = 0
    """Items that were run."""
    late: int = 0
    """Items whose deadline passed before they were begun."""
    gone: int = 0
    """Items whose caller went away before they were begun."""
    seconds: float = 0.0
    """Time in batches."""
    wait_seconds: float = 0.0
    """Time that items were in line before they were run."""
    sizes: list[int] = field(default_factory=lambda: no_counts(SIZES))
    """Batches by their items."""
    durations: list[int] = field(default_factory=lambda: no_counts(SECONDS))
    """Batches by their time."""
    waits: list[int] = field(default_factory=lambda: no_counts(SECONDS))
    """Items by their time in line."""


async def follow(way: Onward) -> Any:
    """Send an item on its way, and return what comes of it."""
    return await way.batcher.run(way.bucket, way.item, way.deadline, way.then)


class Batcher(Generic[Item, Result]):
    """Runs items of a bucket together.

    `most` tells how many items of a bucket may go together, `seconds` what one is expected to take, None where nothing
    is known. With `worker` its thread is shared, else it has one.
    """

    _guard = threading.Lock()  # one for all: tickets go from one batcher to another

    def __init__(
        self,
        name: str,
        run: "RunBatch[Item, Result]",
        *,
        max_depth: int,
        most: Callable[[Hashable], int] = lambda bucket: 64,
        seconds: Callable[[Hashable], float | None] = lambda bucket: None,
        worker: Worker | None = None,
    ) -> None:
        self.name = name
        self._run, self._most, self._seconds = run, most, seconds
        self._max_depth = max_depth
        self._depth = 0
        self._closed = False
        self._emptied = threading.Event()
        self.counters = Counters()
        self.worker = worker or Worker(name)
        self._owns_worker = worker is None

    @property
    def depth(self) -> int:
        """Items that wait or run now."""
        return self._depth

    async def run(self, bucket: Hashable, item: Item, deadline: float | None = None, then: Then | None = None) -> Any:
        """Run an item together with what else waits in its bucket, and return what it gives, with its times.

        `deadline` is a moment of time.monotonic(): DeadlineExceeded when it passes before the work begins, and the work
        is then not done. Overloaded when the line is full, Draining after `close`. A caller that is cancelled takes
        its item out of the line unless it runs already; its neighbours notice neither. With `then` it is returned what
        that makes of it, wherever the item goes by it.
        """
        loop = asyncio.get_running_loop()
        future: asyncio.Future[Any] = loop.create_future()
        ticket = Ticket(Onward(self, bucket, item, deadline, then), future, loop)
        self._enter()
        self.worker.take_soon(loop, ticket)
        timer = None
        if deadline is not None:
            timer = loop.call_later(max(0.0, deadline - time.monotonic()), _expire, ticket)
        try:
            return await future
        except asyncio.CancelledError:
            _leave(ticket, "gone")
            raise
        finally:
            if timer is not None:
                timer.cancel()

    def run_blocking(self, bucket: Hashable, item: Item, deadline: float | None = None) -> Timed[Result]:
        """Run an item and wait for it here, outside any event loop; errors as of `run`."""
        if self.worker.is_this_thread:  # which cannot wait for itself
            return self._at_once(bucket, item)
        future: Future[Timed[Result]] = Future()
        ticket = Ticket(Onward(self, bucket, item, deadline), future, None)
        self._enter()
        self.worker.take([ticket])
        try:
            return future.result(None if deadline is None else max(0.0, deadline - time.monotonic()))
        except TimeoutError:
            if _leave(ticket, "late"):
                raise _late() from None
            return future.result()

    def close(self) -> None:
        """Take no more items and wait until those that were taken are done."""
        with self._guard:
            self._closed = True
            if not self._depth:
                self._emptied.set()
        self._emptied.wait()
        if self._owns_worker:
            self.worker.close()

    def most(self, bucket: Hashable) -> int:
        """Return how many items of a bucket may go together now: fewer long ones, where other tenants may come."""
        most = max(1, self._most(bucket))
        if most > 1 and self.worker.load and self.worker.load.is_shared:
            seconds = self._seconds(bucket)
            if seconds:
                most = max(1, min(most, int(SHARED_BATCH_SECONDS / seconds)))
        return most

    def run_one(self, bucket: Hashable, line: deque[Ticket], most: int) -> float:
        """Run up to `most` of a line, in the worker's thread, and return the seconds that it took."""
        batch, late = self._begin(line, most)
        if late:
            self._deliver(late, [_late()] * len(late))
        if not batch:
            return 0.0
        works, load = [ticket.work for ticket in batch], self.worker.load
        if load:
            load.begin(works)
        begun = time.monotonic()
        outcomes = self._outcomes(bucket, [ticket.way.item for ticket in batch])
        took = time.monotonic() - begun
        if load:
            load.end(works, took)
        self._note(batch, begun, took)
        told = [_told(ticket, outcome, begun, took * 1e3) for ticket, outcome in zip(batch, outcomes, strict=True)]
        self._deliver(batch, told)
        return took

    def _note(self, batch: Sequence[Ticket], begun: float, took: float) -> None:
        """Count a batch, and tell its items' traces where they were; written out, since every request comes by."""
        counters, num_items, waited = self.counters, len(batch), 0.0
        counters.batches += 1
        counters.items += num_items
        counters.seconds += took
        counters.sizes[0 if num_items == 1 else bisect_left(SIZES, num_items)] += 1
        counters.durations[bisect_left(SECONDS, took)] += 1
        for ticket in batch:
            wait = begun - ticket.submitted
            waited += wait
            counters.waits[bisect_left(SECONDS, wait)] += 1
            if ticket.times is not None:
                ticket.times.stages.append(StageTime(self.name, ticket.submitted, begun, begun + took, num_items))
        counters.wait_seconds += waited

    def _enter(self) -> None:
        """Take a place in line; Draining, Overloaded."""
        with self._guard:
            if self._closed:
                raise Draining("the service is shutting down", retry_after_seconds=RETRY_AFTER_SECONDS)
            if self._depth >= self._max_depth:
                raise Overloaded(
                    f"{self._depth} requests wait for the device; at most {self._max_depth} may",
                    retry_after_seconds=RETRY_AFTER_SECONDS,
                )
            self._depth += 1

    def _expect(self, ticket: Ticket) -> None:
        """Say what a ticket that came on from another batcher will cost here."""
        work = ticket.work
        if work is None:
            return
        seconds = self._seconds(ticket.way.bucket) if self.worker.load is work.load else 0.0
        if seconds is not None:
            work.load.expect(work, seconds)

    def _less(self, num: int) -> None:
        """Count items that are no longer here; the guard is held."""
        self._depth -= num
        if self._closed and not self._depth:
            self._emptied.set()

    def _at_once(self, bucket: Hashable, item: Item) -> Timed[Result]:
        begun = time.monotonic()
        (outcome,) = self._outcomes(bucket, [item])
        if isinstance(outcome, Exception):
            raise outcome
        return Timed(outcome, 0.0, (time.monotonic() - begun) * 1e3)

    def _begin(self, line: deque[Ticket], most: int) -> tuple[list[Ticket], list[Ticket]]:
        """Take up to `most` tickets that can still be begun, and those that are too late, out of a line."""
        batch: list[Ticket] = []
        late: list[Ticket] = []
        now = time.monotonic()
        with self._guard:
            while line and len(batch) < most:
                ticket = line.popleft()
                if ticket.open:
                    ticket.open = False
                    (batch if now < ticket.deadline else late).append(ticket)
        self.counters.late += len(late)
        return batch, late

    def _outcomes(self, bucket: Hashable, items: list[Item]) -> "Sequence[Result | Exception]":
        try:
            return self._run(bucket, items)
        except BaseException as error:  # noqa: BLE001 -- its caller is told
            return [_as_exception(error)] * len(items)

    def _deliver(self, tickets: Sequence[Ticket], outcomes: Sequence[Any]) -> None:
        """Send items on, and tell each other caller its outcome: one wake-up for all callers of an event loop."""
        onward: dict[Worker, list[Ticket]] = {}
        by_loop: dict[asyncio.AbstractEventLoop | None, list[tuple[Any, Any]]] = {}
        with self._guard:
            for ticket, outcome in zip(tickets, outcomes, strict=True):
                if isinstance(outcome, Onward):
                    if ticket.future.done():  # cancelled meanwhile
                        outcome.batcher.counters.gone += 1
                        continue
                    outcome.batcher._depth += 1
                    ticket.go(outcome)
                    outcome.batcher._expect(ticket)
                    onward.setdefault(outcome.batcher.worker, []).append(ticket)
                else:
                    by_loop.setdefault(ticket.loop, []).append((ticket.future, outcome))
            self._less(len(tickets))
        for worker, moved in onward.items():
            worker.take(moved)
        for loop, settled in by_loop.items():
            if loop is None:
                _settle(settled)
                continue
            try:
                loop.call_soon_threadsafe(_settle, settled)
            except RuntimeError:  # the loop is closed: nobody waits any more
                continue


def _told(ticket: Ticket, outcome: Any, begun: float, took_ms: float) -> Any:
    """Return what becomes of an item: an error, where it goes next, or what its caller is told."""
    ticket.waited += begun - ticket.submitted
    if isinstance(outcome, Exception):
        return outcome
    timed = Timed(outcome, ticket.waited * 1e3, took_ms)
    if ticket.way.then is None:
        return timed
    try:
        return ticket.way.then(timed)
    except BaseException as error:  # noqa: BLE001 -- its caller is told
        return _as_exception(error)


def _as_exception(error: BaseException) -> Exception:
    """Return what a caller is told: a library in another language raises its panics past `Exception`."""
    if isinstance(error, Exception):
        return error
    unforeseen = RuntimeError(f"{type(error).__name__} in a batch")
    unforeseen.__cause__ = error
    return unforeseen


def _expire(ticket: Ticket) -> None:
    """Refuse an item whose deadline has passed, unless it goes on without one by now."""
    if ticket.deadline < math.inf and _leave(ticket, "late") and not ticket.future.done():
        ticket.future.set_exception(_late())


def _leave(ticket: Ticket, why: str) -> bool:
    """Take a ticket out of its line, and tell whether it still was there."""
    with Batcher._guard:
        if not ticket.open:
            return False
        ticket.open = False
        batcher = ticket.way.batcher
        batcher._less(1)
        setattr(batcher.counters, why, getattr(batcher.counters, why) + 1)
    return True


def _settle(settled: "list[tuple[asyncio.Future[Any] | Future[Any], Any]]") -> None:
    for future, outcome in settled:
        if future.done():  # cancelled
            continue
        if isinstance(outcome, Exception):
            future.set_exception(outcome)
        else:
            future.set_result(outcome)


def _late() -> DeadlineExceeded:
    return DeadlineExceeded("X-Request-Timeout-Ms passed before the work began; the work was not done")
