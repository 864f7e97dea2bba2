"""A task distribution: where episodes come from, and what their rows look like."""

from collections.abc import Callable
from typing import Literal, NamedTuple

import torch

from app.episode import Episode, OutputKind, Scaling

Split = Literal["train", "validation", "test"]


class Distribution(NamedTuple):
    """Episodes of one split."""

    sample: Callable[[torch.Generator, int], Episode]
    """(generator, num_tasks) -> tasks stacked along a leading axis T; many at once, since drawing a sinusoid
    costs more in calls than in numbers. Tasks of one call have equal numbers of shots."""
    input_kind: Literal["vector", "image"]
    input_shape: tuple[int, ...]
    output_kind: OutputKind
    num_outputs: int
    """D numbers of a target, or N classes of a task."""
    num_classes: int
    """Classes of the whole split; 0 for regression."""
    scaling: Scaling | None = None
    """Of the training split, whichever split this is; None where rows are taken as they are."""
