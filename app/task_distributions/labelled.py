"""N-way K-shot episodes over rows that have classes."""

from typing import Annotated, Literal, NamedTuple

import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor

from app.episode import Episode, Query, Support
from app.task_distributions.distortion import distorted
from app.task_distributions.distribution import Distribution

QUARTER_TURNS = 4


class LabelledData(NamedTuple):
    """Rows of one data set by class."""

    inputs: Tensor
    """[rows, *input shape]; uint8 pictures (0..255) or float32."""
    rows_of_class: tuple[Tensor, ...]
    """For each class the indexes of its rows, int64."""
    class_names: tuple[str, ...]
    super_classes: tuple[str, ...]
    """For each class what it belongs to: an alphabet, a domain."""


class LabelledOptions(BaseModel):
    """`{"kind": "labelled", "dataset": "omniglot", "ways": 5, "shots": [1, 5], "queries": 5}`.

    `shots` is a number, or a range of which one number is drawn for each meta-batch. `queries` is a class. With
    `rotations` the quarter turns of a class are classes of their own (Santoro et al. 2016). Training episodes may
    have more ways than those that the model is for (`training_ways`; Snell et al. 2017, section 3.1), and other
    numbers of queries. `distortion` turns, scales, shears and shifts each training picture at random, see `distorted`.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)
    kind: Literal["labelled"] = "labelled"
    dataset: str
    ways: Annotated[int, Field(ge=2)] = 5
    shots: (
        Annotated[int, Field(ge=1)] | Annotated[list[Annotated[int, Field(ge=1)]], Field(min_length=2, max_length=2)]
    ) = 1
    queries: Annotated[int, Field(ge=1)] = 15
    rotations: bool = False
    training_ways: Annotated[int, Field(ge=2)] | None = None
    training_queries: Annotated[int, Field(ge=1)] | None = None
    distortion: Annotated[float, Field(ge=0, le=0.5)] = 0.0

    @property
    def shots_range(self) -> tuple[int, int]:
        """The least and the largest number of shots."""
        low, high = (self.shots, self.shots) if isinstance(self.shots, int) else self.shots
        if low > high:
            raise ValueError(f"shots: the range {[low, high]} is empty")
        return low, high


def labelled(options: LabelledOptions, data: LabelledData) -> Distribution:
    """Return episodes over `data`; ValueError when its classes do not suffice for ways, shots and queries."""
    low, high = options.shots_range
    _check(options, data, high)
    num_turns = QUARTER_TURNS if options.rotations else 1
    num_classes = len(data.rows_of_class) * num_turns
    rows_CK, present_CK = _padded_rows(data)

    def sample(generator: torch.Generator, num_tasks: int) -> Episode:
        shots = int(torch.randint(low, high + 1, (), generator=generator))
        class_TN = torch.rand(num_tasks, num_classes, generator=generator).argsort(dim=1)[:, : options.ways]
        base_TN, turn_TN = class_TN // num_turns, class_TN % num_turns
        # 1 - rand is never 0, so that a row always comes before padding.
        order = (1.0 - torch.rand(*base_TN.shape, rows_CK.shape[1], generator=generator)) * present_CK[base_TN]
        drawn = order.topk(shots + options.queries, dim=2).indices
        inputs = _as_float(data.inputs[rows_CK[base_TN].gather(2, drawn)])
        if num_turns > 1:
            inputs = _turned(inputs, turn_TN)
        if options.distortion:
            inputs = distorted(inputs.flatten(0, 2), options.distortion, generator).view_as(inputs)
        support_inputs, support_targets = _flat_rows(inputs[:, :, :shots])
        query_inputs, query_targets = _flat_rows(inputs[:, :, shots:])
        class_mask = torch.ones(num_tasks, options.ways, dtype=torch.bool)
        ones = torch.ones_like(support_targets, dtype=torch.bool)
        support = Support(support_inputs, support_targets, ones, class_mask)
        query = Query(query_inputs, query_targets, torch.ones_like(query_targets, dtype=torch.bool))
        return Episode(support, query, class_TN)

    shape = tuple(data.inputs.shape[1:])
    kind: Literal["image", "vector"] = "image" if len(shape) == 3 else "vector"
    return Distribution(sample, kind, shape, "classification", options.ways, num_classes)


def _check(options: LabelledOptions, data: LabelledData, most_shots: int) -> None:
    num_classes, needed = len(data.rows_of_class), most_shots + options.queries
    available = num_classes * (QUARTER_TURNS if options.rotations else 1)
    if available < options.ways:
        raise ValueError(f"{options.ways} ways need as many classes; this split has {available}")
    for name, rows in zip(data.class_names, data.rows_of_class, strict=True):
        if len(rows) < needed:
            raise ValueError(
                f"class {name!r} has {len(rows)} rows; {most_shots} shots and {options.queries} queries need {needed}"
            )
    square = data.inputs.ndim == 4 and data.inputs.shape[-1] == data.inputs.shape[-2]
    if (options.rotations or options.distortion) and not square:
        raise ValueError(
            f"rotations and distortion need square pictures; these inputs have shape {list(data.inputs.shape[1:])}"
        )


def _padded_rows(data: LabelledData) -> tuple[Tensor, Tensor]:
    rows_CK = torch.nn.utils.rnn.pad_sequence(list(data.rows_of_class), batch_first=True, padding_value=-1)
    return rows_CK.clamp(min=0), rows_CK >= 0


def _as_float(inputs: Tensor) -> Tensor:
    return inputs.float() / 255.0 if inputs.dtype == torch.uint8 else inputs


def _turned(inputs: Tensor, turn_TN: Tensor) -> Tensor:
    for turns in range(1, QUARTER_TURNS):
        chosen = turn_TN == turns
        inputs[chosen] = torch.rot90(inputs[chosen], turns, dims=(-2, -1))
    return inputs


def _flat_rows(inputs: Tensor) -> tuple[Tensor, Tensor]:
    """Return [T, N * K, ...] rows of [T, N, K, ...], and their class indexes."""
    num_tasks, ways, per_class = inputs.shape[:3]
    targets = torch.arange(ways).repeat_interleave(per_class).expand(num_tasks, -1)
    return inputs.flatten(1, 2), targets
