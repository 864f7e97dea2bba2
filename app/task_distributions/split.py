"""Sharing out classes or groups to training, validation and test, so that no row of one is in two."""

import random
from collections.abc import Mapping, Sequence

from torch import Tensor

from app.task_distributions.dataset import DatasetKind
from app.task_distributions.distribution import Split
from innerloop.errors import InvalidDataset

FRACTIONS = (0.7, 0.15, 0.15)
"""Of training, validation and test."""


def shared_out(
    names: Sequence[str], what: str, fractions: Sequence[float] = FRACTIONS, seed: int = 0
) -> dict[Split, list[str]]:
    """Return the names of each split, shuffled by `seed`, at least one in each.

    The order of `names` does not matter. InvalidDataset, calling them `what`, when they are fewer than three.
    """
    shuffled = sorted(set(names))
    if len(shuffled) < 3:
        raise InvalidDataset(f"three splits need at least 3 {what}; there {_are(shuffled)}")
    random.Random(seed).shuffle(shuffled)
    num_test, num_validation = (max(1, round(share * len(shuffled))) for share in (fractions[2], fractions[1]))
    while num_test + num_validation >= len(shuffled):  # rounding must leave one for training
        num_test, num_validation = (
            (num_test - 1, num_validation) if num_test > num_validation else (num_test, num_validation - 1)
        )
    held_out = num_test + num_validation
    return {
        "test": shuffled[:num_test],
        "validation": shuffled[num_test:held_out],
        "train": shuffled[held_out:],
    }


def split_by_member(
    names: Sequence[str], kind: DatasetKind, fractions: Sequence[float] = FRACTIONS, seed: int = 0
) -> Mapping[Split, tuple[int, ...]]:
    """Return which of the classes (labelled) or groups (grouped) called `names` each split has."""
    return _indexes(names, shared_out(names, "classes" if kind == "labelled" else "groups", fractions, seed))


def split_by_super_class(
    class_names: Sequence[str],
    super_class_names: Sequence[str],
    super_class_of: Sequence[int],
    fractions: Sequence[float] = FRACTIONS,
    seed: int = 0,
) -> Mapping[Split, tuple[int, ...]]:
    """Return which classes each split has; a super-class (an alphabet, a domain) is never in two.

    `super_class_of` holds, for each class, the index of its super-class.
    """
    shares = shared_out(super_class_names, "super-classes", fractions, seed)
    return _indexes([super_class_names[i] for i in super_class_of], shares)


def super_class_of_class(
    targets: Tensor, groups: Tensor, class_names: Sequence[str], group_names: Sequence[str]
) -> list[int]:
    """Return the super-class of each class; InvalidDataset, naming it, for a class whose rows are of two."""
    found = targets.new_zeros(len(class_names))
    found[targets] = groups
    strays = (found[targets] != groups).nonzero()
    if len(strays):
        row = int(strays[0])
        name = class_names[int(targets[row])]
        one, other = (group_names[int(i)] for i in (found[targets[row]], groups[row]))
        raise InvalidDataset(
            f"class {name!r} has rows of two super-classes, {one!r} and {other!r}; give its rows of each a name of "
            "their own"
        )
    return [int(i) for i in found]


def _indexes(names: Sequence[str], shares: Mapping[Split, Sequence[str]]) -> dict[Split, tuple[int, ...]]:
    split_of: dict[str, Split] = {name: split for split, share in shares.items() for name in share}
    return {split: tuple(i for i, name in enumerate(names) if split_of[name] == split) for split in shares}


def _are(names: Sequence[str]) -> str:
    return f"{'is' if len(names) == 1 else 'are'} {len(names)}: {list(names)}"
