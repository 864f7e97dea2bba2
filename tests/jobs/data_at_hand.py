"""Data sets as a job is given them: drawings of characters by alphabet, and patients with a level of their own."""

from functools import cache
from pathlib import Path

import torch

from app.datasets.caps import DatasetCaps
from app.datasets.read import read_dataset
from app.task_distributions.dataset import Dataset
from app.task_distributions.split import split_by_member
from innerloop.wire import DatasetSpec

EXCERPT = Path(__file__).parent.parent / "data" / "omniglot_excerpt.zip"
CAPS = DatasetCaps(max_rows=10_000, max_bytes=1 << 28, max_entries=10_000, max_picture_pixels=1 << 20)
NUM_PATIENTS, NUM_ROWS = 10, 20


@cache
def drawings() -> Dataset:
    """Return the excerpt of Omniglot, split by alphabet."""
    spec = DatasetSpec.model_validate({"name": "omniglot", "kind": "labelled", "split": {"by": "group"}})
    return read_dataset(spec, EXCERPT, EXCERPT.name, CAPS)


def patients(classes: tuple[str, ...] = ()) -> Dataset:
    """Return groups of rows of 3 numbers; targets around 1000 with a deviation of about 100, or one of `classes`."""
    generator = torch.Generator().manual_seed(0)
    groups = torch.arange(NUM_PATIENTS).repeat_interleave(NUM_ROWS)
    inputs = 50.0 + 10.0 * torch.randn(len(groups), 3, generator=generator)
    level = 1000.0 + 90.0 * torch.randn(NUM_PATIENTS, generator=generator)
    numbers = (level[groups] + 4.0 * (inputs[:, 0] - 50.0))[:, None]
    names = tuple(f"patient {number}" for number in range(NUM_PATIENTS))
    return Dataset(
        kind="grouped",
        output_kind="classification" if classes else "regression",
        inputs=inputs,
        targets=torch.arange(len(groups)) % len(classes) if classes else numbers,
        groups=groups,
        class_names=classes,
        group_names=names,
        split=split_by_member(names, "grouped"),
        input_names=("a", "b", "c"),
        target_names=("score",),
    )
