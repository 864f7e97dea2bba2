"""A table of small cells over made-up data: real parts, in seconds."""

from collections.abc import Sequence
from dataclasses import replace
from functools import cache

import torch

from app.task_distributions.dataset import Dataset
from app.task_distributions.registry import Datasets
from benchmarks.quality.comparisons import COMPARISONS, Comparison

MINUTES = 0.005
"""0.3 s."""
NUM_TASKS = 6


def small(name: str, num_cells: int = 2) -> Comparison:
    """Return a comparison of the table with its first cells, and few tasks in each."""
    comparison = COMPARISONS[name]
    cells = tuple(cell._replace(num_tasks=NUM_TASKS, batch=4) for cell in comparison.cells[:num_cells])
    return replace(comparison, cells=cells, num_validation_tasks=8, num_validations=2, tuning_tasks=4)


@cache
def made_up_data() -> Datasets:
    """Return data of the shapes that the table is made for, each class around a place of its own."""
    generator = torch.Generator().manual_seed(0)
    return {
        "omniglot": _classes(generator, (25, 20, 30), (1, 28, 28)),
        "intents": _classes(generator, (35, 25, 45), (384,)),
        "parkinsons": _patients(generator, 14),
    }


def _classes(
    generator: torch.Generator, by_split: tuple[int, int, int], shape: tuple[int, ...], rows: int = 20
) -> Dataset:
    num = sum(by_split)
    centres = torch.rand(num, 1, *shape, generator=generator)
    inputs = (centres + 0.2 * torch.rand(num, rows, *shape, generator=generator)).clamp(0, 1).flatten(0, 1)
    train, validation, test = _following(by_split)
    return Dataset(
        kind="labelled",
        output_kind="classification",
        inputs=inputs,
        targets=torch.arange(num).repeat_interleave(rows),
        groups=torch.zeros(0, dtype=torch.int64),
        class_names=tuple(map(str, range(num))),
        group_names=(),
        split={"train": train, "validation": validation, "test": test},
        input_names=(),
        target_names=(),
    )


def _following(counts: Sequence[int]) -> list[tuple[int, ...]]:
    """Return so many numbers each, one after another."""
    return [tuple(range(sum(counts[:i]), sum(counts[: i + 1]))) for i in range(len(counts))]


def _patients(generator: torch.Generator, num: int, rows: int = 60) -> Dataset:
    inputs = torch.rand(num, rows, 19, generator=generator)
    inputs[:, :, 2] = torch.arange(rows, dtype=torch.float32)  # time
    slopes = torch.rand(num, 1, generator=generator)
    targets = 20.0 + slopes * inputs[:, :, 2] / 10.0 + 0.1 * torch.rand(num, rows, generator=generator)
    return Dataset(
        kind="grouped",
        output_kind="regression",
        inputs=inputs.flatten(0, 1),
        targets=targets.flatten()[:, None],
        groups=torch.arange(num).repeat_interleave(rows),
        class_names=(),
        group_names=tuple(map(str, range(num))),
        split={"train": (0,), "validation": (1,), "test": (2,)},
        input_names=(),
        target_names=("total_UPDRS",),
    )
