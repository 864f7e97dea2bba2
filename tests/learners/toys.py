"""Small worlds of tasks on which any learner can be tried in milliseconds, and a network for each."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor

from app.episode import Episode, Query, Scaling, Support

WAYS, SHOTS, QUERIES = 4, 2, 3
NUM_TRAIN_CLASSES = 10
DIMENSIONS, NUMBERS = 3, 2
"""Of the inputs of vector tasks, and of the targets of regression."""


class Toy(NamedTuple):
    """A small world of tasks and a network for it."""

    name: str
    input_shape: tuple[int, ...]
    network: Mapping[str, Any]
    loss: str
    num_outputs: int
    sample: Callable[[torch.Generator, int, int], Episode]
    """(generator, num_tasks, ways) -> tasks stacked along a leading axis."""
    scaling: Scaling | None = None
    """Of toys in units of their own, what is part of the model."""
    calibrated: bool = False
    """Whether its learners have a temperature."""
    for_all: bool = True
    """Whether all learners are tried on it, or one of each kind."""

    def __str__(self) -> str:
        return self.name


def _regression(numbers: int) -> Callable[[torch.Generator, int, int], Episode]:
    """Return a world of bent planes: each target is tanh of the task's own linear map."""

    def sample(generator: torch.Generator, num_tasks: int, ways: int) -> Episode:
        rows = WAYS * (SHOTS + QUERIES)
        x = torch.rand(num_tasks, rows, DIMENSIONS, generator=generator) * 2 - 1
        y = torch.tanh(x @ torch.randn(num_tasks, DIMENSIONS, numbers, generator=generator) + 0.5)
        mask = torch.ones(num_tasks, rows, dtype=torch.bool)
        none, s = torch.zeros(num_tasks, 0), WAYS * SHOTS
        support = Support(x[:, :s], y[:, :s], mask[:, :s], none.bool())
        return Episode(support, Query(x[:, s:], y[:, s:], mask[:, s:]), none.long())

    return sample


def _in_units(
    sample: Callable[[torch.Generator, int, int], Episode], scaling: Scaling
) -> Callable[[torch.Generator, int, int], Episode]:
    """Return the same world in the units that `scaling` undoes."""

    def turned(inputs: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        inputs = inputs * scaling.input_std + scaling.input_mean
        return inputs, targets * scaling.target_std + scaling.target_mean if len(scaling.target_std) else targets

    def sample_in_units(generator: torch.Generator, num_tasks: int, ways: int) -> Episode:
        support, query, class_ids = sample(generator, num_tasks, ways)
        return Episode(
            Support(*turned(*support[:2]), *support[2:]), Query(*turned(*query[:2]), query.row_mask), class_ids
        )

    return sample_in_units


def _classification(shape: tuple[int, ...], spread: float) -> Callable[[torch.Generator, int, int], Episode]:
    """Return a world of ten classes, each a prototype of `shape` with noise around it."""
    prototypes = torch.rand(NUM_TRAIN_CLASSES, *shape, generator=torch.Generator().manual_seed(7))

    def sample(generator: torch.Generator, num_tasks: int, ways: int) -> Episode:
        class_ids = torch.rand(num_tasks, NUM_TRAIN_CLASSES, generator=generator).argsort(dim=1)[:, :ways]

        def rows(per_class: int) -> tuple[Tensor, Tensor, Tensor]:
            targets = torch.arange(ways).repeat(num_tasks, per_class)
            centres = prototypes[class_ids.gather(1, targets)]
            noise = torch.randn(centres.shape, generator=generator)
            return centres + spread * noise, targets, torch.ones_like(targets, dtype=torch.bool)

        class_mask = torch.ones(num_tasks, ways, dtype=torch.bool)
        return Episode(Support(*rows(SHOTS), class_mask), Query(*rows(QUERIES)), class_ids)

    return sample


MLP = {"kind": "mlp", "hidden": [10, 8]}
CONV4 = {"kind": "conv4", "filters": 8, "groups": 2}
PICTURE = (1, 16, 16)

NORMED = {**MLP, "norm": "layer"}
INPUT_UNITS = torch.tensor([170.0, -3.0, 0.5]), torch.tensor([30.0, 0.1, 2.0])
OF_INPUTS = Scaling(*INPUT_UNITS, torch.zeros(0), torch.zeros(0))
OF_BOTH = Scaling(*INPUT_UNITS, torch.tensor([20.0]), torch.tensor([5.0]))
VECTOR_CLASSES = _classification((DIMENSIONS,), 0.1)

TOYS = (
    Toy("numbers", (DIMENSIONS,), MLP, "squared", NUMBERS, _regression(NUMBERS)),
    Toy("vectors", (DIMENSIONS,), MLP, "cross_entropy", WAYS, VECTOR_CLASSES),
    Toy("pictures", PICTURE, CONV4, "cross_entropy", WAYS, _classification(PICTURE, 0.2), for_all=False),
    Toy(
        "support-normed",
        PICTURE,
        {**CONV4, "norm": "support"},
        "cross_entropy",
        WAYS,
        _classification(PICTURE, 0.4),  # at 0.2 it adapts so well untrained that 24 iterations of Reptile make it worse
        for_all=False,
    ),
    Toy("units", (DIMENSIONS,), MLP, "huber", 1, _in_units(_regression(1), OF_BOTH), OF_BOTH, for_all=False),
    Toy(
        "class-units",
        (DIMENSIONS,),
        NORMED,
        "binary_cross_entropy",
        WAYS,
        _in_units(VECTOR_CLASSES, OF_INPUTS),
        OF_INPUTS,
        calibrated=True,
        for_all=False,
    ),
)
