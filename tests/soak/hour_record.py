"""What the callers of a soak were told, counted as it comes, and whether it was what they expected."""

import threading
from collections import Counter
from typing import NamedTuple

import numpy as np

MOST_COMPLAINTS = 50


class Window(NamedTuple):
    """What came since the last look, times in milliseconds."""

    num_requests: int
    num_unexpected: int
    num_refused: int
    adapt_p50_ms: float | None
    adapt_p99_ms: float | None
    predict_p50_ms: float | None
    predict_p99_ms: float | None


class Record:
    """Counts for all callers; any thread may call."""

    def __init__(self) -> None:
        self._guard = threading.Lock()
        self._spans: dict[str, list[float]] = {}
        self._since = Counter[str]()
        self.answers = Counter[tuple[str, str, str]]()
        """By what was asked, the status, and `expected`, `refused` or `unexpected`."""
        self.num_checked = 0
        """Answers whose content was compared with what was told before."""
        self.complaints: list[str] = []

    def note(self, what: str, status: str, verdict: str, seconds: float | None = None) -> None:
        """Count an answer."""
        with self._guard:
            self.answers[what, status, verdict] += 1
            self._since["requests"] += 1
            self._since[verdict] += 1
            if seconds is not None:
                self._spans.setdefault(what, []).append(seconds * 1e3)

    def complain(self, text: str) -> None:
        """Write down what should not be, and show it: an hour is long."""
        print(f"          not as expected: {text}", flush=True)
        with self._guard:
            if len(self.complaints) < MOST_COMPLAINTS:
                self.complaints.append(text)

    def check(self, what: str, *, holds: bool, text: str) -> None:
        """Count a comparison of an answer with what it has to be."""
        with self._guard:
            self.num_checked += 1
        if not holds:
            self.note(what, "wrong answer", "unexpected")
            self.complain(f"{what}: {text}")

    def total(self, verdict: str) -> int:
        """Return how many answers so far were of a verdict."""
        with self._guard:
            return sum(count for (_, _, one), count in self.answers.items() if one == verdict)

    def window(self) -> Window:
        """Return what came since the last call."""
        with self._guard:
            since, self._since = self._since, Counter()
            spans, self._spans = self._spans, {}
        return Window(
            since["requests"],
            since["unexpected"],
            since["refused"],
            *(_percentile(spans.get(what), percent) for what in ("adapt", "predict") for percent in (50, 99)),
        )


def _percentile(values: list[float] | None, percent: float) -> float | None:
    return round(float(np.percentile(values, percent)), 2) if values else None
