"""The stages that requests pass together: whoever waits for one goes with the others, one thread a stage."""

import time
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from anyio import to_thread

from app.current_request import StageTime, current_stage_times
from app.engine.batcher import Batcher, Counters, follow
from app.engine.ticket import Onward, Then, Timed
from app.engine.worker import Worker

Result = TypeVar("Result")

LARGE_BODY_BYTES = 256 * 1024
"""Bodies beyond are read in a thread of their own: everybody else's wait would be longer than what sharing saves."""
MOST_TOGETHER = 64


class TooSlow(Exception):
    """A request would hold up the stage: it goes to a thread of its own."""


RunMany = Callable[[Sequence[Any], bool], Sequence[Any]]
"""(items, quick) -> a result or an error for each; TooSlow, where `quick` is asked for, for what takes long."""


class Stage:
    """Runs pieces of one kind together; what takes long runs beside it."""

    def __init__(self, name: str, max_depth: int, worker: Worker | None = None) -> None:
        """`worker`: the thread, where it is shared with others."""
        self._batcher: Batcher[Any, Any] = Batcher(
            name, _run_quickly, max_depth=max_depth, most=lambda bucket: MOST_TOGETHER, worker=worker
        )

    async def run(
        self, run_many: RunMany, item: Any, then: Then, deadline: float | None = None, *, is_large: bool = False
    ) -> Any:
        """Return what `then` makes of what `run_many` gives for `item`, wherever it goes by it, or raise its error.

        `run_many` must be the same object each time.
        """
        if not is_large:
            try:
                return await self._batcher.run(run_many, item, deadline, then)
            except TooSlow:
                pass
        began = time.monotonic()
        (outcome,) = await to_thread.run_sync(run_many, [item], False)
        times = current_stage_times()
        if times is not None:
            times.stages.append(StageTime(self._batcher.name, began, began, time.monotonic(), 1))
        if isinstance(outcome, Exception):
            raise outcome
        found = then(Timed(outcome, 0.0, (time.monotonic() - began) * 1e3))
        return await follow(found) if isinstance(found, Onward) else found

    @property
    def depth(self) -> int:
        """Requests that wait here or are worked on."""
        return self._batcher.depth

    @property
    def counters(self) -> Counters:
        """What was done here, beside it apart."""
        return self._batcher.counters

    def onward(self, run_many: RunMany, item: Any, then: Then) -> Onward:
        """Return the way through this stage, for what must not be late any more."""
        return Onward(self._batcher, run_many, item, None, then)

    def close(self) -> None:
        """Take no more and wait for what was taken; blocks."""
        self._batcher.close()


def _run_quickly(run_many: Any, items: Sequence[Any]) -> Sequence[Any]:
    outcomes: Sequence[Any] = run_many(items, True)
    return outcomes


def as_it_is(timed: Timed[Result]) -> Result:
    """Return what a stage gave: the way ends there."""
    return timed.result


def attempted(work: Callable[..., Result], *arguments: Any) -> Result | Exception:
    """Return what `work` gives, or its error: that of one request is not its neighbours'."""
    try:
        return work(*arguments)
    except Exception as error:  # noqa: BLE001 -- its caller is told
        return error
