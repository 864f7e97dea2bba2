"""The stages that requests pass together: whoever waits for one goes with the others, one thread a stage."""

import time
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from anyio import CapacityLimiter

from app.api.threads import in_thread
from app.current_request import StageTime, current_stage_times
from app.engine.batcher import Batcher, Counters, follow
from app.engine.load import current_work
from app.engine.ticket import Onward, Then, Timed
from app.engine.worker import Worker
from innerloop.errors import DeadlineExceeded, InnerloopError

Result = TypeVar("Result")

LARGE_BODY_BYTES = 256 * 1024
"""Bodies beyond are read in a thread of their own: everybody else's wait would be longer than what sharing saves."""
MOST_TOGETHER = 64
MOST_LARGE, MOST_SLOW = 2, 8
"""Large bodies that are read at once, so that what each takes (`json_memory`) does not add up. Parsing holds the
interpreter: more would be no faster. What takes long, pictures and sentences of whatever size, is read by more."""


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
        self._large, self._slow = CapacityLimiter(MOST_LARGE), CapacityLimiter(MOST_SLOW)

    async def run(
        self, run_many: RunMany, item: Any, then: Then, deadline: float | None = None, *, is_large: bool = False
    ) -> Any:
        """Return what `then` makes of what `run_many` gives for `item`, wherever it goes by it, or raise its error.

        `run_many` must be the same object each time.
        """
        timed: Timed[Any] | None = None
        try:
            if not is_large:
                return await self._batcher.run(run_many, item, deadline, then)
            timed = await self._beside(run_many, item, deadline, self._large, quick=True)
        except TooSlow:
            pass
        if timed is None:
            timed = await self._beside(run_many, item, deadline, self._slow, quick=False)
        found = then(timed)
        del timed  # while the way goes on, what was read is held by nobody who does not need it
        return await follow(found) if isinstance(found, Onward) else found

    async def _beside(
        self, run_many: RunMany, item: Any, deadline: float | None, limiter: CapacityLimiter, *, quick: bool
    ) -> Timed[Any]:
        """Return what `run_many` gives for `item` alone, in a thread of its own, or raise its error."""
        asked = time.monotonic()

        def run() -> tuple[float, Any]:
            began = time.monotonic()
            if deadline is not None and began > deadline:
                raise DeadlineExceeded("X-Request-Timeout-Ms passed before the work began; the work was not done")
            return began, _without_frames(run_many([item], quick)[0])

        began, outcome = await in_thread(run, limiter=limiter)
        ended, times, work = time.monotonic(), current_stage_times(), current_work()
        if work is not None:
            work.load.spend(work, ended - began)
        if times is not None and not isinstance(outcome, TooSlow):
            times.stages.append(StageTime(self._batcher.name, asked, began, ended, 1))
        if isinstance(outcome, Exception):
            raise outcome
        return Timed(outcome, (began - asked) * 1e3, (ended - began) * 1e3)

    @property
    def name(self) -> str:
        """What it is called in metrics, traces and log lines."""
        return self._batcher.name

    @property
    def is_alive(self) -> bool:
        """Whether its thread takes what comes."""
        return self._batcher.worker.is_alive

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


def _without_frames(outcome: Any) -> Any:
    """Return an outcome; where it is one of our errors, without what was parsed, which its frames would hold."""
    if isinstance(outcome, InnerloopError):
        outcome.__traceback__ = outcome.__cause__ = outcome.__context__ = None
    return outcome


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
