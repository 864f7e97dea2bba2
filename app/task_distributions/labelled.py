"""N-way K-shot episodes over rows that have classes."""

from typing import Annotated, Literal

import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor

from app.episode import Episode, Query, Support
from app.task_distributions.dataset import Dataset, Part, as_float, is_pictures, part_of
from app.task_distributions.distortion import distorted
from app.task_distributions.distribution import Distribution, Split
from app.task_distributions.label_noise import mislabelled
from app.task_distributions.scaling import training_scaling
from app.task_distributions.shots import Shots, Ways, draw_shots, draw_ways, shots_range, ways_range

QUARTER_TURNS, MIRRORINGS = 4, 2
LabelNoise = Annotated[float, Field(ge=0, le=0.9)]


class LabelledOptions(BaseModel):
    """`{"kind": "labelled", "dataset": "omniglot", "ways": 5, "shots": [1, 5], "queries": 5}`.

    `shots` is a number, or a range of which one number is drawn for each meta-batch. `queries` is a class. With
    `rotations` the quarter turns of a class are classes of their own (Santoro et al. 2016), with `reflections` its
    mirror images too. Training episodes may have more ways than those that the model is for (`training_ways`; Snell et
    al. 2017, section 3.1), or a number drawn from a range for each meta-batch, and other numbers of queries.
    `distortion` turns, scales, shears and shifts each training picture at random, see `distorted`. `label_noise` is the
    share of the support labels of each training episode that are replaced by other classes of the episode, see
    `mislabelled`; `evaluation_label_noise` that of validation and test episodes. Queries keep their labels. `scaling`
    centres inputs that are no pictures, and divides them, by the training split's.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)
    kind: Literal["labelled"] = "labelled"
    dataset: str
    ways: Annotated[int, Field(ge=2)] = 5
    shots: Shots = 1
    queries: Annotated[int, Field(ge=1)] = 15
    rotations: bool = False
    reflections: bool = False
    training_ways: Ways | None = None
    training_queries: Annotated[int, Field(ge=1)] | None = None
    distortion: Annotated[float, Field(ge=0, le=0.5)] = 0.0
    label_noise: LabelNoise = 0.0
    evaluation_label_noise: LabelNoise = 0.0
    scaling: bool = True


def labelled(options: LabelledOptions, dataset: Dataset, split: Split) -> Distribution:
    """Return episodes over the classes of one split; poses, distortion and training numbers are for training alone.

    ValueError when the classes do not suffice for ways, shots and queries.
    """
    options = options.model_copy(update=_changes(options, split))
    shots_bounds, part = shots_range(options.shots), part_of(dataset, split)
    ways_bounds = _ways_bounds(options, split)
    _check(options, dataset, part, ways_bounds[1], shots_bounds[1])
    num_poses = _num_poses(options)
    num_classes = len(part.names) * num_poses
    rows_CK, present_CK = _padded_rows(part)

    def sample(generator: torch.Generator, num_tasks: int) -> Episode:
        shots, ways = draw_shots(shots_bounds, generator), draw_ways(ways_bounds, generator)
        class_TN = torch.rand(num_tasks, num_classes, generator=generator).argsort(dim=1)[:, :ways]
        base_TN, pose_TN = class_TN // num_poses, class_TN % num_poses
        # 1 - rand is never 0, so that a row always comes before padding.
        order = (1.0 - torch.rand(*base_TN.shape, rows_CK.shape[1], generator=generator)) * present_CK[base_TN]
        drawn = order.topk(shots + options.queries, dim=2).indices
        inputs = as_float(dataset.inputs[rows_CK[base_TN].gather(2, drawn)])
        if num_poses > 1:
            inputs = _posed(inputs, pose_TN, options)
        if options.distortion:
            inputs = distorted(inputs.flatten(0, 2), options.distortion, generator).view_as(inputs)
        support_inputs, support_targets = _flat_rows(inputs[:, :, :shots])
        query_inputs, query_targets = _flat_rows(inputs[:, :, shots:])
        if options.label_noise:
            support_targets = mislabelled(support_targets, ways, options.label_noise, generator)
        class_mask = torch.ones(num_tasks, ways, dtype=torch.bool)
        ones = torch.ones_like(support_targets, dtype=torch.bool)
        support = Support(support_inputs, support_targets, ones, class_mask)
        query = Query(query_inputs, query_targets, torch.ones_like(query_targets, dtype=torch.bool))
        return Episode(support, query, class_TN)

    shape = tuple(dataset.inputs.shape[1:])
    kind: Literal["image", "vector"] = "image" if is_pictures(dataset) else "vector"
    scaling = training_scaling(dataset) if options.scaling else None
    return Distribution(sample, kind, shape, "classification", ways_bounds[1], num_classes, scaling)


def _changes(options: LabelledOptions, split: Split) -> dict[str, int | float | bool]:
    if split != "train":
        noise = options.evaluation_label_noise
        return {"rotations": False, "reflections": False, "distortion": 0.0, "label_noise": noise}
    return {"queries": options.training_queries or options.queries}


def _ways_bounds(options: LabelledOptions, split: Split) -> tuple[int, int]:
    return ways_range((options.training_ways or options.ways) if split == "train" else options.ways)


def _check(options: LabelledOptions, dataset: Dataset, part: Part, most_ways: int, most_shots: int) -> None:
    needed = most_shots + options.queries
    available = len(part.names) * _num_poses(options)
    if available < most_ways:
        raise ValueError(f"{most_ways} ways need as many classes; this split has {available}")
    for name, count in zip(part.names, part.counts.tolist(), strict=True):
        if count < needed:
            raise ValueError(
                f"class {name!r} has {count} rows; {most_shots} shots and {options.queries} queries need {needed}"
            )
    shape = list(dataset.inputs.shape[1:])
    changed = options.rotations or options.reflections or options.distortion
    if changed and not (is_pictures(dataset) and shape[1] == shape[2]):
        raise ValueError(f"rotations, reflections and distortion need square pictures; these inputs have shape {shape}")


def _padded_rows(part: Part) -> tuple[Tensor, Tensor]:
    rows_of_class = torch.split(part.rows, part.counts.tolist())
    rows_CK = torch.nn.utils.rnn.pad_sequence(list(rows_of_class), batch_first=True, padding_value=-1)
    return rows_CK.clamp(min=0), rows_CK >= 0


def _num_poses(options: LabelledOptions) -> int:
    """Return how many classes each class of the data set becomes."""
    return (QUARTER_TURNS if options.rotations else 1) * (MIRRORINGS if options.reflections else 1)


def _posed(inputs: Tensor, pose_TN: Tensor, options: LabelledOptions) -> Tensor:
    """Turn and mirror each class's pictures in place; a pose is a number of quarter turns, or 4 more for mirrored."""
    num_turns = QUARTER_TURNS if options.rotations else 1
    for turns in range(1, num_turns):
        chosen = pose_TN % num_turns == turns
        inputs[chosen] = torch.rot90(inputs[chosen], turns, dims=(-2, -1))
    mirrored = pose_TN >= num_turns
    if options.reflections:
        inputs[mirrored] = inputs[mirrored].flip(-1)
    return inputs


def _flat_rows(inputs: Tensor) -> tuple[Tensor, Tensor]:
    """Return [T, N * K, ...] rows of [T, N, K, ...], and their class indexes."""
    num_tasks, ways, per_class = inputs.shape[:3]
    targets = torch.arange(ways).repeat_interleave(per_class).expand(num_tasks, -1)
    return inputs.flatten(1, 2), targets
