"""Splitting classes into train, validation and test by what they belong to."""

import random

from app.task_distributions.distribution import Split
from app.task_distributions.labelled import LabelledData

FRACTIONS = (0.7, 0.15, 0.15)
SPLIT_SEED = 0


def split_by_super_class(
    data: LabelledData,
    split: Split,
    fractions: tuple[float, float, float] = FRACTIONS,
    seed: int = SPLIT_SEED,
) -> LabelledData:
    """Return the classes of one split; a super-class (an alphabet) is never in two.

    ValueError when there are too few super-classes for three splits.
    """
    chosen = set(super_classes_of(data, fractions, seed)[split])
    kept = [i for i, name in enumerate(data.super_classes) if name in chosen]
    return data._replace(
        rows_of_class=tuple(data.rows_of_class[i] for i in kept),
        class_names=tuple(data.class_names[i] for i in kept),
        super_classes=tuple(data.super_classes[i] for i in kept),
    )


def super_classes_of(
    data: LabelledData, fractions: tuple[float, float, float] = FRACTIONS, seed: int = SPLIT_SEED
) -> dict[Split, list[str]]:
    """Return the names of each split's super-classes, shuffled by `seed`; each split has at least one."""
    names = sorted(set(data.super_classes))
    if len(names) < 3:
        raise ValueError(f"three splits need at least 3 super-classes; there are {len(names)}: {names}")
    random.Random(seed).shuffle(names)
    num_test = max(1, round(fractions[2] * len(names)))
    num_validation = max(1, round(fractions[1] * len(names)))
    rest = names[num_test + num_validation :]
    return {
        "test": names[:num_test],
        "validation": names[num_test : num_test + num_validation],
        "train": rest,
    }
