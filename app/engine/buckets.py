"""Which pieces of work can run together: those that differ in numbers alone, once they are padded."""

from collections.abc import Hashable
from typing import NamedTuple

import torch

from app.engine.packed import Layout, packed
from app.episode import Settings, Support
from app.learners.learner import NO_NOISE
from app.learners.model import Model


class Shapes(NamedTuple):
    """What the parameters of a model's tasks have the shape of."""

    by_rows: bool
    """They hold something for each support row, so that padding would stay in them."""
    by_classes: bool
    """They hold something for each class."""


class AdaptBucket(NamedTuple):
    """Tasks that can be adapted in one call."""

    model: int
    """Identity of its functions and its initialisation, while somebody waits with it."""
    steps: int
    rows: int
    """Rows after padding."""
    classes: int
    wants_estimate: bool


class PredictBucket(NamedTuple):
    """Tasks that can be predicted in one call."""

    model: int
    layout: int
    rows: int


class Alone(NamedTuple):
    """Work that has nothing in common with other work."""

    number: int


def adapt_bucket(model: Model, shapes: Shapes, support: Support, steps: int, *, wants_estimate: bool) -> AdaptBucket:
    """Return the bucket of one task."""
    num_rows, num_classes = len(support.inputs), len(support.class_mask)
    return AdaptBucket(
        id(model.meta),
        steps,
        num_rows if shapes.by_rows else padded_length(num_rows),
        num_classes if shapes.by_classes else padded_length(num_classes),
        wants_estimate,
    )


def predict_bucket(model: Model, layout: Layout, num_rows: int) -> PredictBucket:
    """Return the bucket of one task's rows."""
    return PredictBucket(id(model.meta), id(layout), padded_length(num_rows))


def padded_length(length: int) -> int:
    """Return the next of 0, 1, 2, 3, 4, 6, 8, 12, 16, 24, ...: at most half as much again."""
    if length <= 2:
        return length
    power = 1 << (length - 1).bit_length()
    return power // 4 * 3 if length <= power // 4 * 3 else power


@torch.no_grad()
def shapes_of(model: Model) -> Shapes:
    """Return what shapes depend on, by adapting made-up tasks of two sizes; blocks for some milliseconds."""
    fixed_ways = not model.learner.traits.any_ways
    base = _layout(model, 2, 2)
    return Shapes(base != _layout(model, 3, 2), not fixed_ways and base != _layout(model, 2, 3))


def made_up_support(model: Model, num_rows: int, num_classes: int) -> Support:
    """Return rows of zeros for a model, of a number of classes where it tells classes apart."""
    card = model.card
    inputs, mask = torch.zeros(num_rows, *card.input.shape), torch.ones(num_rows, dtype=torch.bool)
    if model.learner.traits.output_kind == "regression":
        return Support(inputs, torch.zeros(num_rows, card.num_outputs), mask, torch.zeros(0, dtype=torch.bool))
    class_mask = torch.arange(card.num_classes(num_classes)) < num_classes
    return Support(inputs, torch.arange(num_rows) % num_classes, mask, class_mask)


def _layout(model: Model, num_rows: int, num_classes: int) -> Hashable:
    device = next(iter(model.meta.trained.values())).device
    support = Support(*(leaf.to(device) for leaf in made_up_support(model, num_rows, num_classes)))
    settings = Settings(min(1, model.learner.traits.steps), torch.tensor(1.0, device=device))
    params, _ = model.learner.adapt(model.meta, support, settings, NO_NOISE)
    return packed(params).layout.leaves
