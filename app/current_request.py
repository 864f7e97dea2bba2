"""The request that code runs for: its id, for log lines, and where its time goes, for its trace."""

from contextvars import ContextVar
from typing import NamedTuple

_request_id: ContextVar[str] = ContextVar("request_id", default="")


class StageTime(NamedTuple):
    """A stage that a request went through; moments of time.monotonic()."""

    stage: str
    asked: float
    began: float
    ended: float
    num_together: int
    """Requests that went through it at once, this one included."""


class StageTimes:
    """Where the time of a request went; any thread may note."""

    def __init__(self) -> None:
        self.stages: list[StageTime] = []
        self.num_tasks: int | None = None
        """Tasks that were asked for in one request; None where it is one, or where none is."""


_stage_times: ContextVar[StageTimes | None] = ContextVar("stage_times", default=None)


# Every request comes by here, and a function around these would take as long as they do.
enter = _request_id.set
"""Say which request the caller's context runs for from now on: (its id) -> what `leave` takes."""
leave = _request_id.reset
"""Say that the context runs for what it ran for before."""
current_request_id = _request_id.get
"""Return the id of the request that this runs for; empty where it is none."""
current_stage_times = _stage_times.get
"""Return what collects where this request's time goes, None where nobody wants to know."""


def collect_stage_times() -> StageTimes:
    """Collect where the time goes of the request that the caller's context runs for."""
    times = StageTimes()
    _stage_times.set(times)
    return times
