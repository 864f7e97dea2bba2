"""What a learner takes and gives, as tuples of tensors that cross vmap.

Tensors end in axis letters:

    S  support rows        N  classes of a task (ways)     T  tasks, only where tasks are batched
    Q  query rows          D  numbers of a target          F  features a network's body gives
    R  rows of either kind                                 O  outputs of a network (D or N of them)

Inputs are written `inputs_R`: the shape of one input (numbers of a vector, or channels, height, width)
follows the row axis.
"""

from dataclasses import dataclass
from typing import Literal, NamedTuple

import torch
from torch import Tensor

OutputKind = Literal["regression", "classification"]

Tree = dict[str, Tensor]
"""Tensors by dotted name: `body.0.weight`, `head.bias`, `rate`."""

TaskParams = Tree
"""What adaptation made: the leaves it changed and, for classification, the task's `class_mask`."""


class Support(NamedTuple):
    """The labelled rows that a task is adapted on, padded to a shape of the caller's choice."""

    inputs: Tensor
    """[S, *input shape], float32."""
    targets: Tensor
    """[S, D] float32 for regression, [S] int64 class indexes for classification."""
    row_mask: Tensor
    """[S] bool, false where a row is padding."""
    class_mask: Tensor
    """[N] bool, false where the task has no such class; [0] for regression."""


class Query(NamedTuple):
    """Labelled rows that adaptation does not see; fields as in Support."""

    inputs: Tensor
    targets: Tensor
    row_mask: Tensor


class Episode(NamedTuple):
    """One task of meta-training: adapt on the support, be judged on the query."""

    support: Support
    query: Query
    class_ids: Tensor
    """[N] int64: which class of the whole data set each of the task's classes is; [0] for regression."""

    def to(self, device: torch.device) -> "Episode":
        """Return the episode with each tensor on `device`."""
        support, query, class_ids = self
        return Episode(
            Support(*(leaf.to(device) for leaf in support)),
            Query(*(leaf.to(device) for leaf in query)),
            class_ids.to(device),
        )

    def rows(self) -> Query:
        """Return all labelled rows, the support's before the queries'."""
        support, query, _ = self
        both = ((support.inputs, query.inputs), (support.targets, query.targets), (support.row_mask, query.row_mask))
        return Query(*map(torch.cat, both))


class MetaParams(NamedTuple):
    """A meta-trained initialisation."""

    trained: Tree
    """Leaves that the outer loop moves."""
    fixed: Tree
    """Leaves that it does not."""


class Trace(NamedTuple):
    """What happened while adapting."""

    support_loss: Tensor
    """[steps + 1] for learners that take gradient steps: before the first step and after each ([steps] when
    `traces_end` is off); else [1]."""


class Scaling(NamedTuple):
    """What a training split's rows are centred and divided by; part of a model, so that callers keep their units."""

    input_mean: Tensor
    """[*input shape] float32."""
    input_std: Tensor
    """[*input shape], never 0."""
    target_mean: Tensor
    """[D]; [0] for classification."""
    target_std: Tensor
    """[D], never 0; [0] for classification."""


@dataclass(frozen=True)
class Settings:
    """How to adapt: what changes unrolling is a plain number, what does not is a tensor a task."""

    steps: int
    """Inner-loop steps; static, so tasks of one batch share it."""
    rate_scale: Tensor
    """[] float32, multiplies the initialisation's inner rates; a tensor, so tasks of one batch may differ."""
    traces_end: bool = True
    """Whether the trace ends with the loss after the last step; static. It costs a pass that training does without."""
    first_order: bool = False
    """Whether second derivatives are left out whatever the learner's options say; static. A trainer sets it for the
    share of meta-training that a learner's traits name."""
