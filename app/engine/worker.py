"""One thread for one device: work waits in line, and late or cancelled work is never begun."""

import asyncio
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from typing import Generic, NamedTuple, TypeVar

from innerloop.errors import DeadlineExceeded, Draining, Overloaded

Result = TypeVar("Result")
RETRY_AFTER_SECONDS = 1.0


class Timed(NamedTuple, Generic[Result]):
    """What work gave, how long it waited and how long it took."""

    result: Result
    queue_ms: float
    compute_ms: float


class DeviceWorker:
    """Runs what it is given one by one, in the order of asking.

    `prepare` runs first in its thread: how many threads a computation takes is a setting of the thread it starts in.
    """

    def __init__(self, name: str, max_depth: int, prepare: Callable[[], None] = lambda: None) -> None:
        self._threads = ThreadPoolExecutor(1, thread_name_prefix=f"device-{name}", initializer=prepare)
        self._max_depth = max_depth
        self._depth = 0
        self._lock = threading.Lock()
        self._closed = False

    @property
    def depth(self) -> int:
        """Pieces of work that wait or run now."""
        return self._depth

    async def run(self, work: Callable[[], Result], deadline: float | None = None) -> Timed[Result]:
        """Run `work` on the thread and return what it gives, with its times.

        `deadline` is a moment of time.monotonic(): DeadlineExceeded when it passes before the work begins, and
        the work is then not done. Overloaded when the line is full, Draining after `close`. A caller that is
        cancelled takes its work out of the line unless it runs already.
        """
        future = self._submit(work, deadline)
        waiting = asyncio.wrap_future(future)
        try:
            remaining = None if deadline is None else max(0.0, deadline - time.monotonic())
            done, _ = await asyncio.wait({waiting}, timeout=remaining)
        except asyncio.CancelledError:
            waiting.cancel()
            raise
        if not done and future.cancel():
            raise _late()
        return await waiting

    def run_blocking(self, work: Callable[[], Result], deadline: float | None = None) -> Result:
        """Run `work` on the thread and wait for it here, outside any event loop; errors as of `run`."""
        future = self._submit(work, deadline)
        remaining = None if deadline is None else max(0.0, deadline - time.monotonic())
        wait([future], timeout=remaining)
        if future.cancel():
            raise _late()
        return future.result().result

    def close(self) -> None:
        """Take no more work and wait until what was taken is done."""
        self._closed = True
        self._threads.shutdown(wait=True)

    def _submit(self, work: Callable[[], Result], deadline: float | None) -> "Future[Timed[Result]]":
        submitted = time.monotonic()

        def timed() -> Timed[Result]:
            started = time.monotonic()
            if deadline is not None and started >= deadline:
                raise _late()
            result = work()
            return Timed(result, (started - submitted) * 1e3, (time.monotonic() - started) * 1e3)

        with self._lock:
            if self._closed:
                raise Draining("the service is shutting down", retry_after_seconds=RETRY_AFTER_SECONDS)
            if self._depth >= self._max_depth:
                raise Overloaded(
                    f"{self._depth} requests wait for the device; at most {self._max_depth} may",
                    retry_after_seconds=RETRY_AFTER_SECONDS,
                )
            self._depth += 1
            future = self._threads.submit(timed)
        future.add_done_callback(self._leave)
        return future

    def _leave(self, future: "Future[Timed[Result]]") -> None:
        with self._lock:
            self._depth -= 1


def _late() -> DeadlineExceeded:
    return DeadlineExceeded("X-Request-Timeout-Ms passed before the work began; the work was not done")
