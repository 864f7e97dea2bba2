"""A data set at hand: rows that have classes or belong to groups, shared out to three splits once and for all."""

from collections.abc import Mapping
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from app.episode import OutputKind
from app.task_distributions.distribution import Split

DatasetKind = Literal["labelled", "grouped"]


class Dataset(NamedTuple):
    """Rows, what each is to be answered with, and what each belongs to."""

    kind: DatasetKind
    """`labelled`: a task is some classes; `grouped`: a task is a group (a patient, an assay, a machine, a user)."""
    output_kind: OutputKind
    inputs: Tensor
    """[rows, *input shape]; uint8 pictures (0..255) or float32, in the file's order."""
    targets: Tensor
    """[rows] int64, indexes into `class_names`; [rows, D] float32 for regression."""
    groups: Tensor
    """[rows] int64, indexes into `group_names`: the task of a row, or the super-class of its class; [0] for none."""
    class_names: tuple[str, ...]
    group_names: tuple[str, ...]
    split: Mapping[Split, tuple[int, ...]]
    """Indexes, ascending: of classes where rows are labelled, of groups where they are grouped."""
    input_names: tuple[str, ...]
    """The columns of a table; empty for arrays and pictures."""
    target_names: tuple[str, ...]


class Part(NamedTuple):
    """The rows of one split, by the classes or groups that they are drawn by."""

    rows: Tensor
    """int64, numbers of rows: member after member, each one's in the file's order."""
    counts: Tensor
    """[members] int64, how many rows each has."""
    names: tuple[str, ...]


def is_pictures(dataset: Dataset) -> bool:
    """Tell whether an input is [C, H, W]."""
    return dataset.inputs.ndim == 4


def part_of(dataset: Dataset, split: Split) -> Part:
    """Return one split's classes (labelled) or groups (grouped) with their rows."""
    labelled = dataset.kind == "labelled"
    member_R, names = (dataset.targets, dataset.class_names) if labelled else (dataset.groups, dataset.group_names)
    members = torch.tensor(dataset.split[split], dtype=torch.int64)
    place_of = torch.full((len(names),), len(names))  # members of other splits come last, and are cut off
    place_of[members] = torch.arange(len(members))
    counts = torch.bincount(member_R, minlength=len(names))[members]
    rows = place_of[member_R].argsort(stable=True)[: int(counts.sum())]
    return Part(rows, counts, tuple(names[i] for i in dataset.split[split]))


def as_float(inputs: Tensor) -> Tensor:
    """Return rows as networks take them: pictures of 0..255 as 0..1."""
    return inputs.float() / 255.0 if inputs.dtype == torch.uint8 else inputs
