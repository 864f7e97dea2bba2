"""Task distributions by kind: a new one is a file beside this and a line here."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from pydantic import BaseModel

from app.task_distributions.dataset import Dataset, DatasetKind
from app.task_distributions.distribution import Distribution, Split
from app.task_distributions.grouped import GroupedOptions, grouped
from app.task_distributions.labelled import LabelledOptions, labelled
from app.task_distributions.sinusoid import SinusoidOptions, sinusoid

Datasets = Mapping[str, Dataset]
"""Data sets at hand, by name."""


class DistributionKind(NamedTuple):
    """What a kind takes and how one split of it is built."""

    options: type[BaseModel]
    build: Callable[[Any, Split, Datasets], Distribution]


DISTRIBUTIONS: Mapping[str, DistributionKind] = {
    "sinusoid": DistributionKind(SinusoidOptions, lambda options, split, datasets: sinusoid(options)),
    "labelled": DistributionKind(
        LabelledOptions,
        lambda options, split, datasets: labelled(options, _at_hand(options.dataset, "labelled", datasets), split),
    ),
    "grouped": DistributionKind(
        GroupedOptions,
        lambda options, split, datasets: grouped(options, _at_hand(options.dataset, "grouped", datasets), split),
    ),
}


def build_distribution(options: Mapping[str, Any], split: Split, datasets: Datasets) -> Distribution:
    """Return one split of the distribution that `options` (with its `kind`) names.

    Raises ValueError for an unknown kind, for a data set that is unknown, of another kind, or has too few classes or
    rows, and pydantic's ValidationError (a ValueError) for options that the kind does not have.
    """
    kind = options.get("kind", "")
    if kind not in DISTRIBUTIONS:
        raise ValueError(f"tasks kind {kind!r} is not one of {sorted(DISTRIBUTIONS)}")
    entry = DISTRIBUTIONS[kind]
    return entry.build(entry.options.model_validate(options), split, datasets)


def _at_hand(name: str, kind: DatasetKind, datasets: Datasets) -> Dataset:
    if name not in datasets:
        raise ValueError(
            f"data set {name!r} is not at hand; POST /datasets uploads one, --data {name}=PATH names a local one"
        )
    found = datasets[name].kind
    if found != kind:
        raise ValueError(f"data set {name!r} is {found}; tasks of kind {kind!r} need a {kind} one")
    return datasets[name]
