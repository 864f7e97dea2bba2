"""Episodes over rows that belong to groups: a task is a patient, an assay, a machine, a user."""

from typing import Annotated, Literal

import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor

from app.episode import Episode, Query, Support
from app.task_distributions.dataset import Dataset, Part, as_float, is_pictures, part_of
from app.task_distributions.distribution import Distribution, Split
from app.task_distributions.draws import distinct_places
from app.task_distributions.scaling import training_scaling
from app.task_distributions.shots import Shots, draw_shots, shots_range


class GroupedOptions(BaseModel):
    """`{"kind": "grouped", "dataset": "patients", "shots": [5, 20], "queries": 20, "order": "first"}`.

    `shots` and `queries` are a task. `order`: `random` draws both from a group's rows; `first` takes the group's
    first rows in the file's order as the support, and draws the queries from all later ones, as a forecast needs it:
    rows between two that are known would be easier than any that are still to come.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)
    kind: Literal["grouped"] = "grouped"
    dataset: str
    shots: Shots = 10
    queries: Annotated[int, Field(ge=1)] = 10
    order: Literal["random", "first"] = "random"
    scaling: bool = True


def grouped(options: GroupedOptions, dataset: Dataset, split: Split) -> Distribution:
    """Return episodes over the groups of one split; ValueError for a group with too few rows.

    Classes mean the same in every task: all of the data set's are there, also those that a support lacks.
    """
    shots_bounds, part = shots_range(options.shots), part_of(dataset, split)
    _check(options, part, shots_bounds[1])
    starts = part.counts.cumsum(0) - part.counts
    num_classes = len(dataset.class_names)

    def sample(generator: torch.Generator, num_tasks: int) -> Episode:
        shots = draw_shots(shots_bounds, generator)
        group_T = torch.randint(len(part.names), (num_tasks,), generator=generator)
        places_TR = _places(options, part.counts[group_T], shots, generator)
        rows_TR = part.rows[starts[group_T, None] + places_TR]
        inputs, targets = as_float(dataset.inputs[rows_TR]), dataset.targets[rows_TR]
        mask = torch.ones_like(rows_TR, dtype=torch.bool)
        class_mask = torch.ones(num_tasks, num_classes, dtype=torch.bool)
        support = Support(inputs[:, :shots], targets[:, :shots], mask[:, :shots], class_mask)
        query = Query(inputs[:, shots:], targets[:, shots:], mask[:, shots:])
        return Episode(support, query, torch.arange(num_classes).expand(num_tasks, -1))

    num_outputs = num_classes or dataset.targets.shape[1]
    kind: Literal["image", "vector"] = "image" if is_pictures(dataset) else "vector"
    scaling = training_scaling(dataset) if options.scaling else None
    shape = tuple(dataset.inputs.shape[1:])
    return Distribution(sample, kind, shape, dataset.output_kind, num_outputs, num_classes, scaling)


def _places(options: GroupedOptions, counts_T: Tensor, shots: int, generator: torch.Generator) -> Tensor:
    """Return which rows of its group each task takes, [T, shots + queries]."""
    if options.order == "random":
        return distinct_places(counts_T, shots + options.queries, generator)
    first = torch.arange(shots).expand(len(counts_T), -1)
    return torch.cat([first, shots + distinct_places(counts_T - shots, options.queries, generator)], dim=1)


def _check(options: GroupedOptions, part: Part, most_shots: int) -> None:
    needed = most_shots + options.queries
    for name, count in zip(part.names, part.counts.tolist(), strict=True):
        if count < needed:
            raise ValueError(
                f"group {name!r} has {count} rows; {most_shots} shots and {options.queries} queries need {needed}"
            )
