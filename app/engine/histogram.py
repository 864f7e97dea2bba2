"""Values counted by size: `counts[bisect_left(bounds, value)] += 1`, written out where every request comes by."""

from collections.abc import Sequence

SECONDS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
"""Bounds of durations: a request alone takes about a millisecond, a refused one is through after some seconds."""
SIZES = (1, 2, 4, 8, 16, 32, 64, 128, 256)
"""Bounds of batch sizes."""


def no_counts(bounds: Sequence[float]) -> list[int]:
    """Return how many values were up to each bound, and how many beyond the last: none yet."""
    return [0] * (len(bounds) + 1)


class Histogram:
    """How many values were up to each bound, how many beyond the last, and their sum."""

    __slots__ = ("bounds", "counts", "total")

    def __init__(self, bounds: Sequence[float]) -> None:
        self.bounds = bounds
        self.counts = no_counts(bounds)
        self.total = 0.0

    def include(self, counts: Sequence[int], total: float) -> "Histogram":
        """Count in what was counted elsewhere by the same bounds."""
        self.counts = [before + more for before, more in zip(self.counts, counts, strict=True)]
        self.total += total
        return self
