"""Folds of a support set: which rows each one leaves out, so that every row is judged without itself."""

from typing import Literal, NamedTuple

import torch
from torch import Tensor

Method = Literal["leave_one_out", "k_fold"]

SHUFFLE_SEED = 0
"""Of the order in which rows take their folds: callers send rows in an order of their own, which may be periodic."""


class Folds(NamedTuple):
    """Disjoint sets of rows (K folds, M rows in the largest), each to be left out once."""

    rows: Tensor
    """[K, M] int64 indexes of support rows; padding repeats a row of the fold."""
    counts: Tensor
    """[K, M] bool, false where it is padding."""

    @property
    def method(self) -> Method:
        """How statisticians call it."""
        return "leave_one_out" if self.rows.shape[1] == 1 else "k_fold"


def folds_of(targets_S: Tensor, num_classes: int, most_folds: int) -> Folds | None:
    """Return at most `most_folds` folds of the rows, at least 2; None where nothing can be left out.

    Classification (`num_classes` over 0, targets are class indexes): each fold leaves out one row of every class, or
    more where a class has more rows than there are folds. Leaving out single rows makes their class smaller than the
    others: on held-out Omniglot, 5 ways, the estimate's error was then a sixth (5 shots) to a third (2 shots) larger.
    A class's only row is in no fold, since nobody could then tell its class. Regression: single rows up to `most_folds`
    of them. The same rows in the same order give the same folds.
    """
    if not num_classes:
        return _dealt(_shuffled(len(targets_S)), min(most_folds, len(targets_S)))
    sizes_N = targets_S.bincount()
    order = _shuffled(len(targets_S))
    by_class = order[targets_S[order].sort(stable=True).indices]
    return _dealt(by_class[sizes_N[targets_S[by_class]] > 1], min(most_folds, int(sizes_N.max())))


def _dealt(rows: Tensor, num_folds: int) -> Folds | None:
    """Deal rows out in turn, so that neighbours, which are of one class, come into different folds."""
    if len(rows) < 2:
        return None
    members = [rows[fold::num_folds] for fold in range(num_folds)]
    most = len(members[0])
    rows_KM = torch.stack([torch.cat([fold, fold[:1].expand(most - len(fold))]) for fold in members])
    return Folds(rows_KM, torch.arange(most) < torch.tensor([len(fold) for fold in members])[:, None])


def _shuffled(num_rows: int) -> Tensor:
    return torch.randperm(num_rows, generator=torch.Generator().manual_seed(SHUFFLE_SEED))
