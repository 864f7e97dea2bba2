"""Small worlds of tasks on which any learner can be tried in milliseconds, and a network for each."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor

from app.episode import Episode, Query, Support

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


def _regression(generator: torch.Generator, num_tasks: int, ways: int) -> Episode:
    """Draw bent planes: each target is tanh of the task's own linear map."""
    rows = WAYS * (SHOTS + QUERIES)
    x = torch.rand(num_tasks, rows, DIMENSIONS, generator=generator) * 2 - 1
    y = torch.tanh(x @ torch.randn(num_tasks, DIMENSIONS, NUMBERS, generator=generator) + 0.5)
    mask = torch.ones(num_tasks, rows, dtype=torch.bool)
    none, s = torch.zeros(num_tasks, 0), WAYS * SHOTS
    support = Support(x[:, :s], y[:, :s], mask[:, :s], none.bool())
    return Episode(support, Query(x[:, s:], y[:, s:], mask[:, s:]), none.long())


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

TOYS = (
    Toy("numbers", (DIMENSIONS,), MLP, "squared", NUMBERS, _regression),
    Toy("vectors", (DIMENSIONS,), MLP, "cross_entropy", WAYS, _classification((DIMENSIONS,), 0.1)),
    Toy("pictures", PICTURE, CONV4, "cross_entropy", WAYS, _classification(PICTURE, 0.2)),
)
