"""What a file holds, whatever its form, and the data set that is made of it."""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from app.task_distributions.dataset import Dataset
from app.task_distributions.split import split_by_member, split_by_super_class, super_class_of_class
from innerloop.errors import InvalidDataset
from innerloop.wire import DatasetSpec

Array = npt.NDArray[np.generic]
Floats = npt.NDArray[np.float32]
Codes = npt.NDArray[np.int64]

MAX_NAME_CHARS = 512
"""Of a class or a group: messages and answers name them."""
SHOWN_CHARS = 60


class Names(NamedTuple):
    """What each row is called: its class, its group."""

    codes: Codes
    """[rows], indexes into `names`."""
    names: tuple[str, ...]
    """By first appearance."""


class Contents(NamedTuple):
    """The rows of a file, checked: numbers are finite and lengths are equal."""

    inputs: npt.NDArray[np.uint8] | Floats
    """[rows, *input shape]; uint8 pictures or float32."""
    targets: Floats | Names
    """[rows, D] for regression."""
    groups: Names | None
    input_names: tuple[str, ...] = ()
    target_names: tuple[str, ...] = ()

    def in_order(self, order: npt.NDArray[np.intp]) -> "Contents":
        """Return the same with its rows in another order; classes and groups keep their numbers."""
        targets, groups = self.targets, self.groups
        return self._replace(
            inputs=self.inputs[order],
            targets=targets._replace(codes=targets.codes[order]) if isinstance(targets, Names) else targets[order],
            groups=groups._replace(codes=groups.codes[order]) if groups else None,
        )


def dataset_from(spec: DatasetSpec, contents: Contents) -> Dataset:
    """Return the data set with its split; InvalidDataset when it has too few classes or groups for one."""
    targets, groups = contents.targets, contents.groups
    for names in (targets, groups):
        if isinstance(names, Names):
            _check_lengths(names.names)
    classes = targets if isinstance(targets, Names) else None
    empty = Names(np.zeros(0, dtype=np.int64), ())
    without_split = Dataset(
        kind=spec.kind,
        output_kind="regression" if classes is None else "classification",
        inputs=torch.from_numpy(contents.inputs),
        targets=torch.from_numpy(targets.codes if isinstance(targets, Names) else targets),
        groups=torch.from_numpy((groups or empty).codes),
        class_names=() if classes is None else classes.names,
        group_names=(groups or empty).names,
        split={},
        input_names=contents.input_names,
        target_names=contents.target_names,
    )
    return split_anew(without_split, split_is_by(spec), spec.split.fractions, spec.split.seed)


def _check_lengths(names: tuple[str, ...]) -> None:
    longest = max(names, key=len, default="")
    if len(longest) > MAX_NAME_CHARS:
        raise InvalidDataset(
            f"the name {longest[:SHOWN_CHARS]!r}... has {len(longest)} characters; at most {MAX_NAME_CHARS} are taken "
            "for a class or a group"
        )


def split_is_by(spec: DatasetSpec) -> str:
    """Return what a spec splits by: `class` or `group`, where it does not say, by its kind."""
    return spec.split.by or ("class" if spec.kind == "labelled" else "group")


def split_anew(dataset: Dataset, by: str, fractions: list[float], seed: int) -> Dataset:
    """Return the data set under another split.

    InvalidDataset for too few classes or groups, and for super-classes that are missing or not clear.
    """
    if dataset.kind == "grouped":
        return dataset._replace(split=split_by_member(dataset.group_names, "grouped", fractions, seed))
    if by == "class":
        return dataset._replace(split=split_by_member(dataset.class_names, "labelled", fractions, seed))
    return dataset._replace(
        split=split_by_super_class(dataset.class_names, dataset.group_names, _super_classes(dataset), fractions, seed)
    )


def _super_classes(dataset: Dataset) -> list[int]:
    groups: Tensor = dataset.groups
    if not len(groups):
        raise InvalidDataset(
            "split.by is group and the rows have no super-class; name its column or array with group, lay class "
            "folders into folders of super-classes, or split by class"
        )
    return super_class_of_class(dataset.targets, groups, dataset.class_names, dataset.group_names)
