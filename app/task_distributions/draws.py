"""Drawing without replacement for many tasks at once, at a cost that does not grow with what is drawn from."""

import torch
from jaxtyping import Int
from torch import Tensor


def distinct_places(counts_T: Int[Tensor, " T"], num: int, generator: torch.Generator) -> Int[Tensor, "T num"]:
    """Return for each task `num` distinct numbers below its count, in random order, each choice equally likely.

    A task with few to draw from ranks random keys, one for each. From more than num**2, numbers drawn one by one
    are distinct more often than not, so they are drawn again where they are not.
    """
    many_T = counts_T > num * num
    if not many_T.any():
        return _by_keys(counts_T, num, generator)
    if many_T.all():
        return _by_trying(counts_T, num, generator)
    places = counts_T.new_empty(len(counts_T), num)
    places[many_T] = _by_trying(counts_T[many_T], num, generator)
    places[~many_T] = _by_keys(counts_T[~many_T], num, generator)
    return places


def _by_keys(counts_T: Tensor, num: int, generator: torch.Generator) -> Tensor:
    longest = int(counts_T.max())
    # 1 - rand is never 0, so that a place below the count always comes before those from it on.
    keys = 1.0 - torch.rand(len(counts_T), longest, generator=generator)
    return (keys * (torch.arange(longest) < counts_T[:, None])).topk(num, dim=1).indices


def _by_trying(counts_T: Tensor, num: int, generator: torch.Generator) -> Tensor:
    places = _numbers_below(counts_T, num, generator)
    while len(again := _with_twins(places)):
        places[again] = _numbers_below(counts_T[again], num, generator)
    return places


def _numbers_below(counts_T: Tensor, num: int, generator: torch.Generator) -> Tensor:
    # float64: float32 has too few numbers below 1 to reach each of a million places equally often
    return (torch.rand(len(counts_T), num, generator=generator, dtype=torch.float64) * counts_T[:, None]).long()


def _with_twins(places: Tensor) -> Tensor:
    ordered = places.sort(dim=1).values
    return (ordered[:, 1:] == ordered[:, :-1]).any(dim=1).nonzero().flatten()
