"""Tasks of the table: the same held-out ones for every method and baseline, and training tasks of several kinds."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from app.episode import Episode, Query, Support
from app.task_distributions.dataset import Dataset
from app.task_distributions.distribution import Distribution, Split
from app.task_distributions.registry import Datasets, build_distribution
from benchmarks.quality.comparisons import Cell, Comparison

TEST_SEED, TUNING_SEED, FOLD_SEED = 4_000_037, 5_000_011, 0
"""Far from each other and from the seeds of training, so that sinusoids are not drawn twice."""
VALIDATION_SHARE = 0.2
"""Of the patients that a fold does not hold out."""


def folds(comparison: Comparison, datasets: Datasets) -> list[Datasets]:
    """Return the data with each split that the comparison trains on: one, or one a fold of groups."""
    if comparison.num_folds == 1 or comparison.dataset is None:
        return [datasets]
    dataset = datasets[comparison.dataset]
    shuffled = np.random.default_rng(FOLD_SEED).permutation(len(dataset.group_names))
    return [
        {comparison.dataset: dataset._replace(split=_split(shuffled, held_out))}
        for held_out in np.array_split(shuffled, comparison.num_folds)
    ]


def _split(everyone: "np.ndarray[Any, Any]", held_out: "np.ndarray[Any, Any]") -> dict[Split, tuple[int, ...]]:
    rest = np.setdiff1d(everyone, held_out, assume_unique=True)
    num_validation = max(1, round(VALIDATION_SHARE * len(rest)))
    return {
        "train": tuple(map(int, rest[num_validation:])),
        "validation": tuple(map(int, rest[:num_validation])),
        "test": tuple(map(int, held_out)),
    }


def held_out_batches(comparison: Comparison, cell: Cell, datasets: Datasets) -> list[Episode]:
    """Return a cell's held-out tasks, always the same; ValueError where the data has too few classes or rows."""
    if comparison.num_folds > 1 and comparison.dataset is not None:
        dataset = datasets[comparison.dataset]
        return [_whole_group(dataset, group, cell.options["shots"]) for group in sorted(dataset.split["test"])]
    held_out = build_distribution({**comparison.tasks, **cell.options}, "test", datasets)
    return sampled(held_out, cell.num_tasks, cell.batch, TEST_SEED)


def tuning_batches(comparison: Comparison, cell: Cell, datasets: Datasets) -> list[Episode]:
    """Return validation tasks like a cell's, of as many ways as there are classes for."""
    options = {**comparison.tasks, **cell.options}
    validation = build_distribution(fitting_ways(options, "validation", datasets), "validation", datasets)
    return sampled(validation, comparison.tuning_tasks, cell.batch, TUNING_SEED)


def sampled(distribution: Distribution, num_tasks: int, batch: int, seed: int) -> list[Episode]:
    """Return `num_tasks` tasks in batches of at most `batch`."""
    generator = torch.Generator().manual_seed(seed)
    sizes = [min(batch, num_tasks - start) for start in range(0, num_tasks, batch)]
    return [distribution.sample(generator, size) for size in sizes]


def fitting_ways(options: Mapping[str, Any], split: Split, datasets: Datasets) -> dict[str, Any]:
    """Return task options with no more ways than the split has classes."""
    if "ways" not in options:
        return dict(options)
    return {**options, "ways": min(options["ways"], len(datasets[options["dataset"]].split[split]))}


def mixed(distributions: Sequence[Distribution]) -> Distribution:
    """Return the distribution whose every batch comes from one of these, drawn at random."""

    def sample(generator: torch.Generator, num_tasks: int) -> Episode:
        which = int(torch.randint(len(distributions), (), generator=generator))
        return distributions[which].sample(generator, num_tasks)

    return distributions[0]._replace(sample=sample) if len(distributions) > 1 else distributions[0]


def with_rows(distribution: Distribution, num_rows: int, *, shuffled: bool) -> Distribution:
    """Return the tasks as a head with `num_rows` rows sees them: rows without a class are masked.

    `shuffled` gives each task's classes rows at random, so that training reaches all of them, however many ways there
    are; else they are the first ones, as in a service. Tasks of more ways than rows stay as they are.
    """

    def sample(generator: torch.Generator, num_tasks: int) -> Episode:
        episodes = distribution.sample(generator, num_tasks)
        return in_rows(episodes, num_rows, generator if shuffled else None)

    return distribution._replace(sample=sample, num_outputs=num_rows)


def in_rows(episodes: Episode, num_rows: int, generator: torch.Generator | None = None) -> Episode:
    """Return a batch of tasks with `num_rows` classes, most of them masked; at random rows with a generator."""
    support, query, class_ids_TN = episodes
    num_tasks, ways = support.class_mask.shape
    if not 0 < ways < num_rows:
        return episodes
    place_TN = torch.arange(ways).expand(num_tasks, -1)
    if generator is not None:
        place_TN = torch.rand(num_tasks, num_rows, generator=generator).argsort(dim=1)[:, :ways]

    def spread(values_TN: Tensor) -> Tensor:
        return values_TN.new_zeros(num_tasks, num_rows).scatter(1, place_TN, values_TN)

    return Episode(
        support._replace(targets=place_TN.gather(1, support.targets), class_mask=spread(support.class_mask)),
        query._replace(targets=place_TN.gather(1, query.targets)),
        spread(class_ids_TN),
    )


def _whole_group(dataset: Dataset, group: int, shots: int) -> Episode:
    """Return one group as a batch of one task: its first rows, and all later ones as the query."""
    rows = (dataset.groups == group).nonzero()[:, 0]
    if len(rows) <= shots:
        raise ValueError(f"group {dataset.group_names[group]!r} has {len(rows)} rows; {shots} shots leave no query")
    inputs, targets = dataset.inputs[rows][None], dataset.targets[rows][None]
    mask = torch.ones(1, len(rows), dtype=torch.bool)
    none = torch.zeros(1, 0, dtype=torch.bool)
    support = Support(inputs[:, :shots], targets[:, :shots], mask[:, :shots], none)
    return Episode(support, Query(inputs[:, shots:], targets[:, shots:], mask[:, shots:]), none.long())
