"""Task distributions by kind: a new one is a file beside this and a line here."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from pydantic import BaseModel

from app.task_distributions.distribution import Distribution, Split
from app.task_distributions.labelled import LabelledData, LabelledOptions, labelled
from app.task_distributions.sinusoid import SinusoidOptions, sinusoid
from app.task_distributions.split import split_by_super_class

Datasets = Mapping[str, LabelledData]
"""Data sets at hand, by name."""


class DistributionKind(NamedTuple):
    """What a kind takes and how one split of it is built."""

    options: type[BaseModel]
    build: Callable[[Any, Split, Datasets], Distribution]


def labelled_split(options: LabelledOptions, split: Split, datasets: Datasets) -> Distribution:
    """Return one split of a data set at hand; rotations and distortion are for training alone."""
    if options.dataset not in datasets:
        raise ValueError(f"data set {options.dataset!r} is not at hand; name it with --data {options.dataset}=PATH")
    changes = (
        {
            "ways": options.training_ways or options.ways,
            "queries": options.training_queries or options.queries,
        }
        if split == "train"
        else {"rotations": False, "distortion": 0.0}
    )
    return labelled(options.model_copy(update=changes), split_by_super_class(datasets[options.dataset], split))


DISTRIBUTIONS: Mapping[str, DistributionKind] = {
    "sinusoid": DistributionKind(SinusoidOptions, lambda options, split, datasets: sinusoid(options)),
    "labelled": DistributionKind(LabelledOptions, labelled_split),
}


def build_distribution(options: Mapping[str, Any], split: Split, datasets: Datasets) -> Distribution:
    """Return one split of the distribution that `options` (with its `kind`) names.

    Raises ValueError for an unknown kind or data set or one with too few classes or rows, and pydantic's
    ValidationError (a ValueError) for options that the kind does not have.
    """
    kind = options.get("kind", "")
    if kind not in DISTRIBUTIONS:
        raise ValueError(f"tasks kind {kind!r} is not one of {sorted(DISTRIBUTIONS)}")
    entry = DISTRIBUTIONS[kind]
    return entry.build(entry.options.model_validate(options), split, datasets)
