"""FOMAML: MAML without second derivatives.

Finn, Abbeel, Levine 2017, "Model-Agnostic Meta-Learning for Fast Adaptation of Deep Networks", section 5.2; Nichol
et al. 2018, equation 8: the meta-gradient is the query's gradient at the adapted weights. Differs in nothing; where
rates are learned, each gets the product of the query's gradient and the inner gradient it was multiplied by.
"""

from typing import Literal

from app.learners.gradient import GradientOptions, gradient_learner
from app.learners.learner import Learner
from app.learners.losses import Loss
from app.networks.network import Network


class FomamlOptions(GradientOptions):
    """`{"kind": "fomaml", "steps": 1, "learning_rate": 0.01}`: MAML's options, `first_order` always true."""

    kind: Literal["fomaml"] = "fomaml"
    first_order: Literal[True] = True


def fomaml(options: FomamlOptions, network: Network, loss: Loss, num_train_classes: int) -> Learner:
    """Return the learner whose inner loop moves every leaf and whose meta-gradient takes its steps as constants."""
    return gradient_learner(options, network, loss, "all")
