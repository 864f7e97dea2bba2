"""MAML: an initialisation from which a few gradient steps on all weights fit a new task.

Finn, Abbeel, Levine 2017, "Model-Agnostic Meta-Learning for Fast Adaptation of Deep Networks", algorithms 1
and 2. With `first_order` the second derivatives are left out (their section 5.2). Differs where asked for:
learned rates (after Li et al. 2017 and Antoniou et al. 2019) and a head that starts from class means.
"""

from typing import Literal

from app.learners.gradient import GradientOptions, gradient_learner
from app.learners.learner import Learner
from app.learners.losses import Loss
from app.networks.network import Network


class MamlOptions(GradientOptions):
    """`{"kind": "maml", "steps": 1, "learning_rate": 0.01}` and what gradient learners have in common."""

    kind: Literal["maml"] = "maml"


def maml(options: MamlOptions, network: Network, loss: Loss, num_train_classes: int) -> Learner:
    """Return the learner whose inner loop moves every leaf of the network."""
    return gradient_learner(options, network, loss, "all")
