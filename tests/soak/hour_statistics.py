"""Whether a series grows: a straight line through it, with an interval that minds that neighbours are alike."""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

SECONDS_AN_HOUR = 3600.0
LEAST_INDEPENDENT = 3.0
NORMAL_95 = 1.96


class Slope(NamedTuple):
    """A change an hour by least squares, its 95% interval, and the line's value at the first and last moment."""

    per_hour: float
    low: float
    high: float
    first: float
    last: float


def slope(seconds: Sequence[float], values: Sequence[float]) -> Slope:
    """Return the slope of values over moments; ValueError for fewer than three.

    What is left over from the line is not independent from sample to sample: as many samples count as its correlation
    with its own neighbour leaves (n (1 - r) / (1 + r)), at least three.
    """
    if len(seconds) < 3 or len(seconds) != len(values):
        raise ValueError(f"{len(seconds)} moments and {len(values)} values; at least three of each are expected")
    t, y = np.asarray(seconds, dtype=float), np.asarray(values, dtype=float)
    centred = t - t.mean()
    spread = float(centred @ centred)
    if spread == 0.0:
        raise ValueError("all moments are the same")
    rate = float(centred @ (y - y.mean())) / spread
    rest = y - y.mean() - rate * centred
    squares = float(rest @ rest)
    alike = float(rest[1:] @ rest[:-1]) / squares if squares > 0.0 else 0.0
    alike = min(max(alike, 0.0), 0.99)
    num_independent = max(LEAST_INDEPENDENT, len(t) * (1 - alike) / (1 + alike))
    variance = squares / (len(t) - 2)
    error = NORMAL_95 * math.sqrt(variance / spread * len(t) / num_independent)
    line = [float(y.mean() + rate * at) for at in (centred[0], centred[-1])]
    per_hour = [each * SECONDS_AN_HOUR for each in (rate, rate - error, rate + error)]
    return Slope(per_hour[0], per_hour[1], per_hour[2], line[0], line[1])
