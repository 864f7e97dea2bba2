"""Small labelled data sets on which each row can be told from its number."""

from collections.abc import Sequence

import torch
from torch import Tensor

from app.task_distributions.labelled import LabelledData

COUNTS = (20, 22, 25, 20, 30, 21, 24, 20)
"""Rows of each class of the data sets below: as unequal as real ones."""


def vectors(counts: Sequence[int] = COUNTS) -> LabelledData:
    """Return rows [class, number of the row in the whole data set], shuffled over the classes."""
    targets = torch.repeat_interleave(torch.arange(len(counts)), torch.tensor(counts))
    targets = targets[torch.randperm(len(targets), generator=torch.Generator().manual_seed(0))]
    inputs = torch.stack([targets, torch.arange(len(targets))], dim=1).float()
    return data_of(inputs, targets, len(counts))


def pictures(num_classes: int = 8, per_class: int = 20, size: int = 4) -> LabelledData:
    """Return uint8 noise, no two pictures and no two turns of one alike."""
    targets = torch.arange(num_classes).repeat_interleave(per_class)
    generator = torch.Generator().manual_seed(0)
    inputs = torch.randint(0, 256, (len(targets), 1, size, size), generator=generator, dtype=torch.uint8)
    return data_of(inputs, targets, num_classes)


def data_of(inputs: Tensor, targets: Tensor, num_classes: int) -> LabelledData:
    """Return the data set with two classes to a super-class."""
    return LabelledData(
        inputs,
        rows_of_class=tuple((targets == n).nonzero().flatten() for n in range(num_classes)),
        class_names=tuple(f"class {n}" for n in range(num_classes)),
        super_classes=tuple(f"super {n // 2}" for n in range(num_classes)),
    )
