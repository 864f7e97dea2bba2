"""How familiar a support set is: where its losses lie among those of validation tasks of about its size."""

import math
from bisect import bisect_left, bisect_right
from collections.abc import Sequence

from app.card import Card, Reference


def familiarity(
    card: Card, support_loss: Sequence[float | None], num_classes: int | None, num_rows: int
) -> dict[str, float | None] | None:
    """Return which share of validation tasks had smaller support losses, before and after adapting, 0 to 1.

    Near 1 is a task unlike those of training; a small share is no trouble. `support_loss` is the trace that a caller
    is told, `num_classes` and `num_rows` those of the whole support (None: regression). Compared is the reference
    whose ways and rows a class are nearest, by their logarithms.
    A number is None where there is nothing to compare: `before` without steps, `after` with no step taken, or after a
    number of steps that the card has no references of. None for cards that have none at all.
    """
    if not card.familiarity:
        return None
    reference = min(card.familiarity, key=lambda known: _distance(known, num_classes, num_rows))
    kept = max((step for step, loss in enumerate(support_loss) if loss is not None), default=0)
    if card.default_steps is None:
        return {"before": None, "after": _share(reference, support_loss, 0)}
    after = _share(reference, support_loss, kept) if kept else None
    return {"before": _share(reference, support_loss, 0), "after": after}


def _distance(reference: Reference, num_classes: int | None, num_rows: int) -> float:
    """Return how far apart two sizes of task are, squared, in logarithms of ways and of rows a class."""
    ways, wanted = reference.ways or 1, num_classes or 1
    shots = math.log(reference.rows / ways) - math.log(num_rows / wanted)
    return math.log(ways / wanted) ** 2 + shots**2


def _share(reference: Reference, support_loss: Sequence[float | None], step: int) -> float | None:
    quantiles, loss = reference.loss_by_step.get(str(step)), support_loss[step]
    return None if quantiles is None or loss is None else round(rank(quantiles, loss), 4)


def rank(quantiles: Sequence[float], value: float) -> float:
    """Return where a value lies between equidistant quantiles, 0 to 1, linear in between.

    A value that several quantiles equal lies in their middle.
    """
    low, high = bisect_left(quantiles, value), bisect_right(quantiles, value)
    if low == len(quantiles):
        return 1.0
    if high == 0:
        return 0.0
    place = (low + high - 1) / 2.0
    if low == high:
        place = low - 1 + (value - quantiles[low - 1]) / (quantiles[low] - quantiles[low - 1])
    return place / (len(quantiles) - 1)
