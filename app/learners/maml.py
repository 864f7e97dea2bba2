"""MAML: an initialisation from which a few gradient steps on all weights fit a new task.

Finn, Abbeel, Levine 2017, "Model-Agnostic Meta-Learning for Fast Adaptation of Deep Networks", algorithms 1
and 2. With `first_order` the second derivatives are left out (their section 5.2). Differs where asked for:
learned rates (one a tensor; after Antoniou et al. 2019, section 4) and a head that starts from class means.
"""

from typing import Literal

import torch

from app.episode import MetaParams
from app.learners.gradient import (
    HEAD_LEAVES,
    GradientOptions,
    adapt_all_leaves,
    gradient_traits,
    predictor,
    start_leaves,
    with_rates,
)
from app.learners.learner import Learner, loss_after_adapting
from app.learners.losses import Loss
from app.networks.network import Network


class MamlOptions(GradientOptions):
    """`{"kind": "maml", "steps": 1, "learning_rate": 0.01}` and what gradient learners have in common."""

    kind: Literal["maml"] = "maml"


def maml(options: MamlOptions, network: Network, loss: Loss, num_train_classes: int) -> Learner:
    """Return the learner whose inner loop moves every leaf of the network."""
    traits = gradient_traits(options, loss)
    adapt, predict = adapt_all_leaves(options, network, loss), predictor(network)

    def init(generator: torch.Generator) -> MetaParams:
        leaves = start_leaves(options, network, generator)
        adapted = [*(name for name in leaves if name.startswith("body.")), *HEAD_LEAVES]
        return with_rates(options, leaves, {}, adapted)

    return Learner(traits, loss, init, adapt, predict, loss_after_adapting(adapt, predict, loss))
