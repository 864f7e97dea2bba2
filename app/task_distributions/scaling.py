"""What the numbers of a training split are centred and divided by."""

import torch
from torch import Tensor

from app.episode import Scaling
from app.task_distributions.dataset import Dataset, is_pictures, part_of

ROWS_AT_ONCE = 65_536
"""Rows that are looked at in float64 at a time, so that no second copy of a large data set is made."""


def training_scaling(dataset: Dataset) -> Scaling | None:
    """Return mean and standard deviation of each number over the training rows, 1 for one that never changes.

    None for pictures, whose range is known. Targets are scaled for regression alone.
    """
    if is_pictures(dataset):
        return None
    rows = part_of(dataset, "train").rows
    none = torch.zeros(0)
    target_moments = _moments(dataset.targets, rows) if dataset.output_kind == "regression" else (none, none)
    return Scaling(*_moments(dataset.inputs, rows), *target_moments)


def _moments(values: Tensor, rows: Tensor) -> tuple[Tensor, Tensor]:
    """Return mean and deviation [*shape of a row] float32 of `values[rows]`."""
    pieces = torch.split(rows, ROWS_AT_ONCE)
    mean = torch.stack([values[piece].double().sum(dim=0) for piece in pieces]).sum(dim=0) / len(rows)
    squares = torch.stack([(values[piece].double() - mean).square().sum(dim=0) for piece in pieces]).sum(dim=0)
    std = (squares / len(rows)).sqrt().float()
    first = values[rows[0]]
    constant = torch.stack([(values[piece] == first).all(dim=0) for piece in pieces]).all(dim=0)
    # A deviation that float32 cannot tell from the mean's own rounding, or from 0, is none either.
    return mean.float(), torch.where(constant | (std <= torch.finfo(std.dtype).tiny), 1.0, std)
