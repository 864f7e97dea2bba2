"""ANIL: MAML whose inner loop moves the head alone.

Raghu et al. 2020, "Rapid Learning or Feature Reuse? Towards Understanding the Effectiveness of MAML", section 5.
The features of the support are computed once, since no step changes them.
"""

from typing import Literal

import torch
from torch import Tensor

from app.episode import MetaParams, Settings, Support, TaskParams, Trace, Tree
from app.learners.gradient import (
    HEAD_LEAVES,
    GradientOptions,
    adapt_from,
    gradient_traits,
    predictor,
    start_head,
    start_leaves,
    support_loss,
    with_rates,
)
from app.learners.learner import Learner, loss_after_adapting
from app.learners.losses import Loss
from app.networks.network import Network
from app.trees import merge


class AnilOptions(GradientOptions):
    """`{"kind": "anil", "steps": 1, "learning_rate": 0.01}` and what gradient learners have in common."""

    kind: Literal["anil"] = "anil"


def anil(options: AnilOptions, network: Network, loss: Loss, num_train_classes: int) -> Learner:
    """Return the learner whose inner loop moves the head over features that stay."""
    traits = gradient_traits(options, loss)
    predict = predictor(network)

    def init(generator: torch.Generator) -> MetaParams:
        return with_rates(options, start_leaves(options, network, generator), {}, list(HEAD_LEAVES))

    def adapt(meta: MetaParams, support: Support, settings: Settings, noise: Tree) -> tuple[TaskParams, Trace]:
        leaves = merge(meta.fixed, meta.trained)
        features_SF = network.features(leaves, support.inputs)
        start = start_head(options, leaves, support, lambda: features_SF)
        seen_SF = features_SF.detach() if options.first_order else features_SF

        mean_loss = support_loss(loss, support)

        def loss_of(params: Tree) -> Tensor:
            return mean_loss(params, seen_SF)

        return adapt_from(start, loss_of, options, meta, support, settings)

    return Learner(traits, loss, init, adapt, predict, loss_after_adapting(adapt, predict, loss))
