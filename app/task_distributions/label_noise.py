"""Wrong labels: some of a task's support rows called by the name of another of its classes."""

import torch
from jaxtyping import Int
from torch import Tensor


def mislabelled(
    targets_TS: Int[Tensor, "T S"], ways: int, share: float, generator: torch.Generator
) -> Int[Tensor, "T S"]:
    """Return the class indexes with a share of each task's, rounded to a whole number of rows, replaced.

    Which rows are drawn from all of a task's alike, so that one class may lose more of its rows than another, even all
    of them; what each is called instead is drawn from the task's other classes alike.
    """
    num_wrong = round(share * targets_TS.shape[1])
    rank_TS = torch.rand(targets_TS.shape, generator=generator).argsort(dim=1)
    other_TS = (targets_TS + torch.randint(1, ways, targets_TS.shape, generator=generator)) % ways
    return torch.where(rank_TS < num_wrong, other_TS, targets_TS)
