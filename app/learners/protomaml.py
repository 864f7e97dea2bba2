"""ProtoMAML: MAML whose head starts from each task's class means, so that it takes any number of classes.

Triantafillou et al. 2020, "Meta-Dataset: A Dataset of Datasets for Learning to Learn from Few Examples", section 3: the
head that makes logits of distances to the class means (Snell et al. 2017, equation 8) is where the inner loop starts,
and the meta-gradient goes through the means too. Differs: the distances have a learned scale, and the support that the
means are made of is that of the steps.
"""

from typing import Literal

from app.learners.gradient import GradientOptions, gradient_learner
from app.learners.learner import Learner
from app.learners.losses import Loss
from app.networks.network import Network


class ProtomamlOptions(GradientOptions):
    """`{"kind": "protomaml", "steps": 1, "learning_rate": 0.01}`: MAML's options, `head` always "class_means"."""

    kind: Literal["protomaml"] = "protomaml"
    head: Literal["class_means"] = "class_means"


def protomaml(options: ProtomamlOptions, network: Network, loss: Loss, num_train_classes: int) -> Learner:
    """Return the learner whose inner loop moves every leaf from a head of class means; ValueError for numbers."""
    return gradient_learner(options, network, loss, "all")
