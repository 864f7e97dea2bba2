"""Meta-SGD: MAML that learns a rate, and so a direction, for each number of the network.

Li et al. 2017, "Meta-SGD: Learning to Learn Quickly for Few-Shot Learning", section 3.2 and algorithm 1: theta' =
theta - alpha o grad, with alpha trained like theta and free in its sign. Differs in that all rates start at
`learning_rate` in place of numbers drawn for each run, and in that more than one step may be taken at the same rates.
"""

from typing import Literal

from app.learners.gradient import GradientOptions, gradient_learner
from app.learners.learner import Learner
from app.learners.losses import Loss
from app.networks.network import Network


class MetaSgdOptions(GradientOptions):
    """`{"kind": "meta_sgd", "steps": 1, "learning_rate": 0.01}`: MAML's options, `rates` always "per_parameter"."""

    kind: Literal["meta_sgd"] = "meta_sgd"
    rates: Literal["per_parameter"] = "per_parameter"


def meta_sgd(options: MetaSgdOptions, network: Network, loss: Loss, num_train_classes: int) -> Learner:
    """Return the learner whose inner loop moves every number at a learned rate of its own."""
    return gradient_learner(options, network, loss, "all")
