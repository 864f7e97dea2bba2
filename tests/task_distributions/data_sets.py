"""Small data sets on which each row can be told from its number."""

from collections.abc import Sequence

import torch
from torch import Tensor

from app.task_distributions.dataset import Dataset
from app.task_distributions.split import split_by_super_class

COUNTS = (20, 22, 25, 20, 30, 21, 24, 20)
"""Rows of each class of the data sets below: as unequal as real ones."""


def vectors(counts: Sequence[int] = COUNTS) -> Dataset:
    """Return rows [class, number of the row in the whole data set], shuffled over the classes."""
    targets = torch.repeat_interleave(torch.arange(len(counts)), torch.tensor(counts))
    targets = targets[torch.randperm(len(targets), generator=torch.Generator().manual_seed(0))]
    inputs = torch.stack([targets, torch.arange(len(targets))], dim=1).float()
    return data_of(inputs, targets, len(counts))


def pictures(num_classes: int = 8, per_class: int = 20, size: int = 4) -> Dataset:
    """Return uint8 noise, no two pictures and no two turns of one alike."""
    targets = torch.arange(num_classes).repeat_interleave(per_class)
    generator = torch.Generator().manual_seed(0)
    inputs = torch.randint(0, 256, (len(targets), 1, size, size), generator=generator, dtype=torch.uint8)
    return data_of(inputs, targets, num_classes)


def data_of(inputs: Tensor, targets: Tensor, num_classes: int) -> Dataset:
    """Return the data set with two classes to a super-class, and all classes in the training split."""
    return Dataset(
        kind="labelled",
        output_kind="classification",
        inputs=inputs,
        targets=targets,
        groups=targets // 2,
        class_names=tuple(f"class {n}" for n in range(num_classes)),
        group_names=tuple(f"super {n}" for n in range((num_classes + 1) // 2)),
        split={"train": tuple(range(num_classes)), "validation": (), "test": ()},
        input_names=(),
        target_names=(),
    )


def split(data: Dataset) -> Dataset:
    """Return the data set split by super-class."""
    super_classes = [n // 2 for n in range(len(data.class_names))]
    return data._replace(split=split_by_super_class(data.class_names, data.group_names, super_classes))


def groups(counts: Sequence[int] = COUNTS, *, num_classes: int = 0) -> Dataset:
    """Return rows [group, place in the group, number of the row], the groups' rows mixed, all in the training split.

    Targets are 100 times the group plus the place, or, with classes, the place modulo their number.
    """
    group_R = torch.repeat_interleave(torch.arange(len(counts)), torch.tensor(counts))
    group_R = group_R[torch.randperm(len(group_R), generator=torch.Generator().manual_seed(0))]
    place_R = torch.stack([(group_R[:i] == group).sum() for i, group in enumerate(group_R)])
    targets = place_R % num_classes if num_classes else (100.0 * group_R + place_R)[:, None]
    return Dataset(
        kind="grouped",
        output_kind="classification" if num_classes else "regression",
        inputs=torch.stack([group_R, place_R, torch.arange(len(group_R))], dim=1).float(),
        targets=targets,
        groups=group_R,
        class_names=tuple(f"class {n}" for n in range(num_classes)),
        group_names=tuple(f"group {n}" for n in range(len(counts))),
        split={"train": tuple(range(len(counts))), "validation": (), "test": ()},
        input_names=(),
        target_names=(),
    )
