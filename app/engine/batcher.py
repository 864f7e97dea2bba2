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
    """In all lines since its caller asked."""
    compute_ms: float


class Onward(NamedTuple):
    """Where an item goes next: its caller waits on, and no event loop is asked in between."""

    batcher: "Batcher[Any, Any]"
    bucket: Hashable
    item: Any
    deadline: float | None = None
    then: "Then | None" = None


Then = Callable[[Timed[Any]], Any]
"""What an item gave -> what its caller is told, or Onward; called in the batcher's thread, where it must be quick."""


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


async def follow(way: Onward) -> Any:
    """Send an item on its way, and return what comes of it."""
    return await way.batcher.run(way.bucket, way.item, way.deadline, way.then)


class _Ticket:
    """A caller in line, in one batcher after the other."""

    __slots__ = ("deadline", "future", "loop", "open", "submitted", "waited", "way")

    def __init__(self, way: Onward, future: Any, loop: asyncio.AbstractEventLoop | None) -> None:
        self.future, self.loop = future, loop
        self.waited = 0.0
        self.go(way)

    def go(self, way: Onward) -> None:
        """Enter a line."""
        self.way = way
        self.deadline = math.inf if way.deadline is None else way.deadline
        self.submitted = time.monotonic()
        self.open = True  # in line: neither begun nor abandoned


_Line = tuple["Batcher[Any, Any]", Hashable]


class Worker:
    """A thread and what waits for it, in lines by batcher and bucket; the line of the oldest item is next.

    `prepare` runs first in the thread: how many threads a computation takes is a setting of the thread it starts in.
    """

    def __init__(self, name: str, prepare: Callable[[], None] = lambda: None) -> None:
        self._prepare = prepare
        self._arrivals: queue.SimpleQueue[list[_Ticket]] = queue.SimpleQueue()
        self._handing_over: dict[asyncio.AbstractEventLoop, list[_Ticket]] = {}
        self._lines: OrderedDict[_Line, deque[_Ticket]] = OrderedDict()  # the thread's own
        self._closed = False
        self._thread = threading.Thread(target=self._work, name=f"batcher-{name}", daemon=True)
        self._thread.start()

    @property
    def is_this_thread(self) -> bool:
        """Whether the caller runs on it."""
        return threading.current_thread() is self._thread

    def take(self, tickets: list[_Ticket]) -> None:
        """Take tickets, from any thread."""
        self._arrivals.put(tickets)

    def take_soon(self, loop: asyncio.AbstractEventLoop, ticket: _Ticket) -> None:
        """Take a ticket together with all that come in this turn of the loop: one wake-up for them."""
        waiting = self._handing_over.get(loop)
        if waiting is not None:
            waiting.append(ticket)
            return
        self._handing_over[loop] = [ticket]
        loop.call_soon(self._flush, loop)

    def close(self) -> None:
        """End the thread; blocks. Its batchers are closed before."""
        self._closed = True
        self._arrivals.put([])  # wakes the thread
        self._thread.join()

    def _flush(self, loop: asyncio.AbstractEventLoop) -> None:
        self._arrivals.put(self._handing_over.pop(loop))

    # ---- the thread ----

    def _work(self) -> None:
        self._prepare()
        while self._lines or not self._closed:
            self._let_in(wait=not self._lines)
            if self._lines:
                self._run_one_batch()

    def _let_in(self, *, wait: bool) -> None:
        """Put what has arrived into its lines, waiting for something if there is nothing."""
        try:
            while True:
                arrived = self._arrivals.get(block=wait)
                for ticket in arrived:
                    self._lines.setdefault((ticket.way.batcher, ticket.way.bucket), deque()).append(ticket)
                wait = False
        except queue.Empty:
            return

    def _run_one_batch(self) -> None:
        (batcher, bucket), line = self._lines.popitem(last=False)
        batcher.run_one(bucket, line)
        # What is left goes behind the other lines: none waits for another one's whole line.
        if line:
            self._lines[batcher, bucket] = line


class Batcher(Generic[Item, Result]):
    """Runs items of a bucket together, buckets in the order of their oldest item; the one place with futures.

    `most` tells how many items of a bucket may go together. With `worker` its thread is shared, else it has one.
    """

    _guard = threading.Lock()  # one for all: tickets go from one batcher to another

    def __init__(
        self,
        name: str,
        run: "RunBatch[Item, Result]",
        *,
        max_depth: int,
        most: Callable[[Hashable], int] = lambda bucket: 64,
        worker: Worker | None = None,
    ) -> None:
        self.name = name
        self._run, self._most = run, most
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
        ticket = _Ticket(Onward(self, bucket, item, deadline, then), future, loop)
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
        ticket = _Ticket(Onward(self, bucket, item, deadline), future, None)
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

    def run_one(self, bucket: Hashable, line: deque[_Ticket]) -> None:
        """Run as much of a line as may go together, in the worker's thread."""
        batch, late = self._begin(line, max(1, self._most(bucket)))
        if late:
            self._deliver(late, [_late()] * len(late))
        if not batch:
            return
        begun = time.monotonic()
        outcomes = self._outcomes(bucket, [ticket.way.item for ticket in batch])
        took = time.monotonic() - begun
        self.counters.batches += 1
        self.counters.items += len(batch)
        self.counters.seconds += took
        told = [_told(ticket, outcome, begun, took * 1e3) for ticket, outcome in zip(batch, outcomes, strict=True)]
        self._deliver(batch, told)

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

    def _begin(self, line: deque[_Ticket], most: int) -> tuple[list[_Ticket], list[_Ticket]]:
        """Take up to `most` tickets that can still be begun, and those that are too late, out of a line."""
        batch: list[_Ticket] = []
        late: list[_Ticket] = []
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
        except Exception as error:  # noqa: BLE001 -- its caller is told
            return [error] * len(items)

    def _deliver(self, tickets: Sequence[_Ticket], outcomes: Sequence[Any]) -> None:
        """Send items on, and tell each other caller its outcome: one wake-up for all callers of an event loop."""
        onward: dict[Worker, list[_Ticket]] = {}
        by_loop: dict[asyncio.AbstractEventLoop | None, list[tuple[Any, Any]]] = {}
        with self._guard:
            for ticket, outcome in zip(tickets, outcomes, strict=True):
                if isinstance(outcome, Onward):
                    if ticket.future.done():  # cancelled meanwhile
                        outcome.batcher.counters.gone += 1
                        continue
                    outcome.batcher._depth += 1
                    ticket.go(outcome)
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


def _told(ticket: _Ticket, outcome: Any, begun: float, took_ms: float) -> Any:
    """Return what becomes of an item: an error, where it goes next, or what its caller is told."""
    ticket.waited += begun - ticket.submitted
    if isinstance(outcome, Exception):
        return outcome
    timed = Timed(outcome, ticket.waited * 1e3, took_ms)
    if ticket.way.then is None:
        return timed
    try:
        return ticket.way.then(timed)
    except Exception as error:  # noqa: BLE001 -- its caller is told
        return error


def _expire(ticket: _Ticket) -> None:
    """Refuse an item whose deadline has passed, unless it goes on without one by now."""
    if ticket.deadline < math.inf and _leave(ticket, "late") and not ticket.future.done():
        ticket.future.set_exception(_late())


def _leave(ticket: _Ticket, why: str) -> bool:
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
