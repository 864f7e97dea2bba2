"""Turns at a key: one caller at a time, in the order of asking."""

import asyncio
import threading
import time
from collections import deque
from collections.abc import Hashable
from types import TracebackType

from innerloop.errors import DeadlineExceeded


class Turns:
    """Who has which key now, and who waits for it; waited for on one event loop, taken at once from any thread."""

    def __init__(self) -> None:
        self._guard = threading.Lock()
        self._waiting: dict[Hashable, deque[asyncio.Future[None]]] = {}

    def held(self) -> list[Hashable]:
        """Return the keys that somebody has."""
        with self._guard:
            return list(self._waiting)

    def caller(self) -> "Turn":
        """Return a caller that has no key yet; it gives back at the end of the block what it took."""
        return Turn(self._guard, self._waiting)


class Turn:
    """A caller's turn at one key."""

    __slots__ = ("_guard", "_is_over", "_key", "_waiting")

    def __init__(self, guard: threading.Lock, waiting: "dict[Hashable, deque[asyncio.Future[None]]]") -> None:
        self._guard, self._waiting = guard, waiting
        self._key: Hashable = None
        self._is_over = False

    def take(self, key: Hashable) -> bool:
        """Take a key unless somebody else has it, and tell whether it is this caller's now; from any thread.

        A caller that is gone gets none.
        """
        with self._guard:
            if self._key is not None:
                return self._key == key
            if self._is_over or key in self._waiting:
                return False
            self._waiting[key] = deque()
            self._key = key
            return True

    @property
    def has_key(self) -> bool:
        """Whether this caller has a key, or waits for one."""
        return self._key is not None

    async def wait(self, key: Hashable, deadline: float | None) -> None:
        """Wait for a key; DeadlineExceeded at `deadline`, a moment of time.monotonic()."""
        if self.take(key):
            return
        woken = self._line_up(key)
        if woken is None:
            return
        try:
            async with asyncio.timeout(None if deadline is None else deadline - time.monotonic()):
                await woken
        except TimeoutError as error:
            self._leave(key, woken)
            raise DeadlineExceeded("X-Request-Timeout-Ms passed while an earlier call for this task ran") from error
        except BaseException:
            self._leave(key, woken)
            raise

    def _line_up(self, key: Hashable) -> "asyncio.Future[None] | None":
        """Wait behind the others; None where the key has become free, and is taken."""
        with self._guard:
            if key not in self._waiting:
                self._waiting[key] = deque()
                self._key = key
                return None
            woken = asyncio.get_running_loop().create_future()
            self._waiting[key].append(woken)
            self._key = key  # once it is woken
            return woken

    def _leave(self, key: Hashable, woken: "asyncio.Future[None]") -> None:
        """Give up waiting; a turn that has come just now is passed on at the end."""
        with self._guard:
            if woken.done() and not woken.cancelled():
                return
            self._key = None
            if woken in self._waiting.get(key, ()):
                self._waiting[key].remove(woken)

    def __enter__(self) -> "Turn":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Let the next one in."""
        with self._guard:
            self._is_over = True
            if self._key is None:
                return
            waiting = self._waiting[self._key]
            while waiting:
                following = waiting.popleft()
                if not following.done():
                    following.set_result(None)
                    return
            del self._waiting[self._key]
