"""Requests counted by route, method and status, for less than a microsecond each, and problem documents by code."""

from bisect import bisect_left
from collections import Counter
from collections.abc import Mapping
from typing import Any

from app.engine.histogram import SECONDS, Histogram, no_counts

NO_ROUTE = "none"
"""The label of all paths that are no route."""
OTHER_METHOD = "other"
METHODS = frozenset({"GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS"})
PLAIN_PATHS = frozenset({"/adapt", "/predict", "/docs", "/redoc", "/openapi.json"})
"""Routes without parameters that the framework's router does not note in the scope: hot ones, and its own pages."""


class _Ended:
    """Requests of one method, route and status that have ended."""

    __slots__ = ("durations", "number", "seconds")

    def __init__(self) -> None:
        self.number, self.seconds = 0, 0.0
        self.durations = no_counts(SECONDS)


class RequestCounts:
    """Counts requests, on the event loop; any thread may read.

    Nothing that a caller makes up tells two entries apart, so that there are few of them.
    """

    def __init__(self) -> None:
        self._num_begun = 0
        self._ended: dict[tuple[str, str, int], _Ended] = {}
        self._problems: Counter[str] = Counter()

    @property
    def num_under_way(self) -> int:
        """Requests that are not answered yet."""
        return max(0, self._num_begun - sum(ended.number for ended in [*self._ended.values()]))

    def ended(self) -> dict[tuple[str, str, str], int]:
        """Return how many requests ended, by method, route and status; 0 is one that was not answered."""
        return {(method, route, str(status)): ended.number for (method, route, status), ended in [*self._ended.items()]}

    def durations(self) -> dict[tuple[str, str], Histogram]:
        """Return seconds by method and route."""
        found: dict[tuple[str, str], Histogram] = {}
        for (method, route, _), ended in [*self._ended.items()]:
            found.setdefault((method, route), Histogram(SECONDS)).include(ended.durations, ended.seconds)
        return found

    def problems(self) -> dict[str, int]:
        """Return how many problem documents were answered, by their code; only those that were."""
        return dict(self._problems.copy())

    def begin(self) -> None:
        """Count a request that came."""
        self._num_begun += 1

    def end(self, method: str, route: str, status: int, seconds: float) -> None:
        """Count one that was answered, or left; `route` is that of `route_of`."""
        ended = self._ended.get((method, route, status)) or self._entry(method, route, status)
        ended.number += 1
        ended.durations[bisect_left(SECONDS, seconds)] += 1
        ended.seconds += seconds

    def note_problem(self, code: str) -> None:
        """Count a problem document: an answer, or one call's in the answer to a batch."""
        self._problems[code] += 1

    def _entry(self, method: str, route: str, status: int) -> _Ended:
        if method not in METHODS:  # whose number callers could choose
            method = OTHER_METHOD
        return self._ended.setdefault((method, route, status), _Ended())


def route_of(scope: Mapping[str, Any]) -> str:
    """Return the template of the route that answered, such as `/tasks/{task_id}`, and never what stood in its place."""
    route = scope.get("route")
    if route is not None:
        template: str = getattr(route, "path", NO_ROUTE)
        return template
    path: str = scope["path"]
    return path if path in PLAIN_PATHS else NO_ROUTE
