"""One thread that takes what waits: a batch leaves when the thread is free, and never because a timer says so."""

import asyncio
import math
import queue
import threading
import time
from collections import OrderedDict, deque
from collections.abc import Callable, Hashable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any, Generic, NamedTuple, TypeVar

from innerloop.errors import DeadlineExceeded, Draining, Overloaded

Item = TypeVar("Item")
Result = TypeVar("Result")
RETRY_AFTER_SECONDS = 1.0

RunBatch = Callable[[Hashable, list[Item]], "Sequence[Result | Exception]"]
"""(bucket, items) -> a result or an error for each, in order; what it raises is everybody's error."""


class Timed(NamedTuple, Generic[Result]):
    """What work gave, how long it waited and how long it took, with the neighbours that it ran with."""

    result: Result
    queue_ms: float
    compute_ms: float


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


class _Ticket(Generic[Item]):
    """A caller in line."""

    __slots__ = ("bucket", "deadline", "future", "item", "loop", "open", "submitted")

    def __init__(
        self, bucket: Hashable, item: Item, deadline: float, future: Any, loop: asyncio.AbstractEventLoop | None
    ) -> None:
        self.bucket, self.item, self.deadline = bucket, item, deadline
        self.future, self.loop = future, loop
        self.submitted = time.monotonic()
        self.open = True  # in line: neither begun nor abandoned


class Batcher(Generic[Item, Result]):
    """Runs items of a bucket together, buckets in the order of their oldest item; the one place with futures.

    `most` tells how many items of a bucket may go together. `prepare` runs first in the thread: how many threads a
    computation takes is a setting of the thread that it starts in.
    """

    def __init__(
        self,
        name: str,
        run: "RunBatch[Item, Result]",
        *,
        max_depth: int,
        most: Callable[[Hashable], int] = lambda bucket: 64,
        prepare: Callable[[], None] = lambda: None,
    ) -> None:
        self._run, self._most, self._prepare = run, most, prepare
        self._max_depth = max_depth
        self._arrivals: queue.SimpleQueue[list[_Ticket[Item]]] = queue.SimpleQueue()
        self._handing_over: dict[asyncio.AbstractEventLoop, list[_Ticket[Item]]] = {}
        self._lines: OrderedDict[Hashable, deque[_Ticket[Item]]] = OrderedDict()  # the thread's own
        self._depth = 0
        self._lock = threading.Lock()
        self._closed = False
        self.counters = Counters()
        self._thread = threading.Thread(target=self._work, name=f"batcher-{name}", daemon=True)
        self._thread.start()

    @property
    def depth(self) -> int:
        """Items that wait or run now."""
        return self._depth

    async def run(self, bucket: Hashable, item: Item, deadline: float | None = None) -> Timed[Result]:
        """Run an item together with what else waits in its bucket, and return what it gives, with its times.

        `deadline` is a moment of time.monotonic(): DeadlineExceeded when it passes before the work begins, and the work
        is then not done. Overloaded when the line is full, Draining after `close`. A caller that is cancelled takes
        its item out of the line unless it runs already; its neighbours notice neither.
        """
        loop = asyncio.get_running_loop()
        future: asyncio.Future[Timed[Result]] = loop.create_future()
        ticket = _Ticket(bucket, item, math.inf if deadline is None else deadline, future, loop)
        self._enter()
        self._hand_over(loop, ticket)
        timer = None
        if deadline is not None:
            timer = loop.call_later(max(0.0, deadline - time.monotonic()), self._expire, ticket)
        try:
            return await future
        except asyncio.CancelledError:
            if self._leaves(ticket):
                self.counters.gone += 1
            raise
        finally:
            if timer is not None:
                timer.cancel()

    def run_blocking(self, bucket: Hashable, item: Item, deadline: float | None = None) -> Timed[Result]:
        """Run an item and wait for it here, outside any event loop; errors as of `run`."""
        future: Future[Timed[Result]] = Future()
        ticket = _Ticket(bucket, item, math.inf if deadline is None else deadline, future, None)
        self._enter()
        self._arrivals.put([ticket])
        try:
            return future.result(None if deadline is None else max(0.0, deadline - time.monotonic()))
        except TimeoutError:
            if self._leaves(ticket):
                self.counters.late += 1
                raise _late() from None
            return future.result()

    def close(self) -> None:
        """Take no more items and wait until those that were taken are done."""
        with self._lock:
            self._closed = True
        self._arrivals.put([])  # wakes the thread
        self._thread.join()

    def _enter(self) -> None:
        """Take a place in line; Draining, Overloaded."""
        with self._lock:
            if self._closed:
                raise Draining("the service is shutting down", retry_after_seconds=RETRY_AFTER_SECONDS)
            if self._depth >= self._max_depth:
                raise Overloaded(
                    f"{self._depth} requests wait for the device; at most {self._max_depth} may",
                    retry_after_seconds=RETRY_AFTER_SECONDS,
                )
            self._depth += 1

    def _hand_over(self, loop: asyncio.AbstractEventLoop, ticket: _Ticket[Item]) -> None:
        """Give a ticket to the thread together with all that come in this turn of the loop: one wake-up for them."""
        waiting = self._handing_over.get(loop)
        if waiting is not None:
            waiting.append(ticket)
            return
        self._handing_over[loop] = [ticket]
        loop.call_soon(self._flush, loop)

    def _flush(self, loop: asyncio.AbstractEventLoop) -> None:
        self._arrivals.put(self._handing_over.pop(loop))

    def _expire(self, ticket: _Ticket[Item]) -> None:
        if self._leaves(ticket):
            self.counters.late += 1
            if not ticket.future.done():
                ticket.future.set_exception(_late())

    def _leaves(self, ticket: _Ticket[Item]) -> bool:
        """Take a ticket out of the line, and tell whether it still was there."""
        with self._lock:
            if not ticket.open:
                return False
            ticket.open = False
            self._depth -= 1
        if self._closed:
            self._arrivals.put([])  # the thread may wait for this ticket to come
        return True

    # ---- the thread ----

    def _work(self) -> None:
        self._prepare()
        while not (self._closed and self._depth == 0):
            self._let_in(wait=not self._lines)
            if self._lines:
                self._run_one_batch()

    def _let_in(self, *, wait: bool) -> None:
        """Put what has arrived into its lines, waiting for something if there is nothing."""
        try:
            while True:
                arrived = self._arrivals.get(block=wait)
                for ticket in arrived:
                    self._lines.setdefault(ticket.bucket, deque()).append(ticket)
                wait = False
        except queue.Empty:
            return

    def _run_one_batch(self) -> None:
        bucket, line = next(iter(self._lines.items()))
        batch, late = self._begin(line, max(1, self._most(bucket)))
        # What is left goes behind the other buckets: none waits for another one's whole line.
        del self._lines[bucket]
        if line:
            self._lines[bucket] = line
        if late:
            self._deliver(late, [_late()] * len(late))
        if not batch:
            return
        begun = time.monotonic()
        outcomes = self._outcomes(bucket, [ticket.item for ticket in batch])
        took = time.monotonic() - begun
        self.counters.batches += 1
        self.counters.items += len(batch)
        self.counters.seconds += took
        told = [
            outcome if isinstance(outcome, Exception) else Timed(outcome, (begun - ticket.submitted) * 1e3, took * 1e3)
            for ticket, outcome in zip(batch, outcomes, strict=True)
        ]
        self._deliver(batch, told)

    def _begin(self, line: deque[_Ticket[Item]], most: int) -> tuple[list[_Ticket[Item]], list[_Ticket[Item]]]:
        """Take up to `most` tickets that can still be begun, and those that are too late, out of a line."""
        batch: list[_Ticket[Item]] = []
        late: list[_Ticket[Item]] = []
        now = time.monotonic()
        with self._lock:
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
        except Exception as error:  # noqa: BLE001 -- its caller is told
            return [error] * len(items)

    def _deliver(self, tickets: Sequence[_Ticket[Item]], outcomes: Sequence[Any]) -> None:
        """Tell each caller its outcome: one wake-up for all callers of an event loop."""
        with self._lock:
            self._depth -= len(tickets)
        by_loop: dict[asyncio.AbstractEventLoop | None, list[tuple[Any, Any]]] = {}
        for ticket, outcome in zip(tickets, outcomes, strict=True):
            by_loop.setdefault(ticket.loop, []).append((ticket.future, outcome))
        for loop, settled in by_loop.items():
            if loop is None:
                _settle(settled)
                continue
            try:
                loop.call_soon_threadsafe(_settle, settled)
            except RuntimeError:  # the loop is closed: nobody waits any more
                continue


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
