"""Two rows of the table on the same tasks, pair by pair."""

from typing import NamedTuple

from torch import Tensor

from app.training.evaluate import Estimate, estimate
from benchmarks.parkinsons_quality import compared
from benchmarks.quality.results import CellResult, values_of

Difference = Estimate


class Ratio(NamedTuple):
    """A ratio of mean errors and its 95% interval."""

    mean: float
    low: float
    high: float


def difference(ours: CellResult, theirs: CellResult) -> Difference:
    """Return ours less theirs over the tasks of both; ValueError when they were judged on different numbers of them."""
    return estimate(values_of(ours) - _paired(ours, theirs))


def ratio(ours: CellResult, theirs: CellResult) -> Ratio:
    """Return our mean error over theirs, by bootstrap over tasks."""
    _paired(ours, theirs)
    return Ratio(*compared(values_of(ours).numpy(), values_of(theirs).numpy()))


def _paired(ours: CellResult, theirs: CellResult) -> Tensor:
    if ours.tasks != theirs.tasks:
        raise ValueError(f"{ours.tasks} tasks against {theirs.tasks}: run the older row with --again")
    return values_of(theirs)
