"""A model: what a card and stored weights become."""

from typing import NamedTuple

import torch

from app.card import Card
from app.episode import MetaParams, Scaling, Tree
from app.learners.calibration import with_temperature
from app.learners.learner import Learner
from app.learners.registry import build_learner
from app.learners.scaling import with_scaling
from app.networks.registry import build_network
from app.trees import merge, prefixed, subtree

TRAINED, FIXED = "trained.", "fixed."


def learner_of(card: Card) -> Learner:
    """Return the learner that a card describes; ValueError when it describes none."""
    network = build_network(card.network, card.input.shape, card.num_outputs)
    learner = build_learner(card.learner, network, card.loss, card.num_train_classes)
    learner = with_scaling(learner, _no_scaling(card)) if card.scales_inputs or card.scales_targets else learner
    return with_temperature(learner) if card.calibrated else learner


def _no_scaling(card: Card) -> Scaling:
    """Return a scaling that changes nothing, of the shapes that stored means and deviations have."""
    targets = card.output.shape if card.scales_targets else (0,)
    return Scaling(
        torch.zeros(card.input.shape), torch.ones(card.input.shape), torch.zeros(targets), torch.ones(targets)
    )


class Model(NamedTuple):
    """A learner with its meta-trained initialisation."""

    card: Card
    learner: Learner
    meta: MetaParams


def as_tree(meta: MetaParams) -> Tree:
    """Return an initialisation as one tree, the form in which it is stored."""
    return merge(prefixed(meta.trained, TRAINED), prefixed(meta.fixed, FIXED))


def from_tree(tree: Tree) -> MetaParams:
    """Return the initialisation of a stored tree; undoes `as_tree`."""
    return MetaParams(subtree(tree, TRAINED), subtree(tree, FIXED))
