"""A caller in line, in one batcher after the other, and the way that leads it there."""

import asyncio
import math
import time
from collections.abc import Callable, Hashable
from typing import TYPE_CHECKING, Any, Generic, NamedTuple, TypeVar

from app.current_request import current_stage_times
from app.engine.load import current_work

if TYPE_CHECKING:
    from app.engine.batcher import Batcher

Result = TypeVar("Result")


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


class Ticket:
    """A caller in line."""

    __slots__ = ("deadline", "future", "loop", "open", "submitted", "times", "waited", "way", "work")

    def __init__(self, way: Onward, future: Any, loop: asyncio.AbstractEventLoop | None) -> None:
        self.future, self.loop = future, loop
        self.waited = 0.0
        self.times = current_stage_times()
        self.work = current_work()
        self.go(way)

    def go(self, way: Onward) -> None:
        """Enter a line."""
        self.way = way
        self.deadline = math.inf if way.deadline is None else way.deadline
        self.submitted = time.monotonic()
        self.open = True  # in line: neither begun nor abandoned
