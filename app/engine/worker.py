"""A thread that takes what waits: a batch leaves when the thread is free, and never because a timer says so."""

import asyncio
import queue
import threading
from collections.abc import Callable

from app.engine.lines import Lines
from app.engine.load import Load
from app.engine.ticket import Ticket


class Worker:
    """A thread and what waits for it.

    `prepare` runs first in the thread: how many threads a computation takes is a setting of the thread it starts in.
    `load` measures how much waits, for work that was let in by it.
    """

    def __init__(self, name: str, prepare: Callable[[], None] = lambda: None, load: Load | None = None) -> None:
        self.load = load
        self._prepare = prepare
        self._arrivals: queue.SimpleQueue[list[Ticket]] = queue.SimpleQueue()
        self._handing_over: dict[asyncio.AbstractEventLoop, list[Ticket]] = {}
        self._lines = Lines()  # the thread's own
        self._closed = False
        self._thread = threading.Thread(target=self._work, name=f"batcher-{name}", daemon=True)
        self._thread.start()

    @property
    def is_alive(self) -> bool:
        """Whether it takes what comes; after `close` nothing comes."""
        return self._closed or self._thread.is_alive()

    @property
    def is_this_thread(self) -> bool:
        """Whether the caller runs on it."""
        return threading.current_thread() is self._thread

    def take(self, tickets: list[Ticket]) -> None:
        """Take tickets, from any thread."""
        self._arrivals.put(tickets)

    def take_soon(self, loop: asyncio.AbstractEventLoop, ticket: Ticket) -> None:
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
                self._lines.run_next()

    def _let_in(self, *, wait: bool) -> None:
        """Put what has arrived into its lines, waiting for something if there is nothing."""
        try:
            while True:
                for ticket in self._arrivals.get(block=wait):
                    self._lines.put(ticket)
                wait = False
        except queue.Empty:
            return
