"""BOIL: MAML whose inner loop moves the body alone.

Oh et al. 2021, "BOIL: Towards Representation Change for Few-shot Learning", section 3.1, equation 2 with a head's rate
of 0: the head is meta-learned and the same for all tasks, so that a task must change its features. Differs in that
the classes of a task keep the head's rows in the order in which they come, as everywhere here.
"""

from typing import Literal

from app.learners.gradient import GradientOptions, gradient_learner
from app.learners.learner import Learner
from app.learners.losses import Loss
from app.networks.network import Network


class BoilOptions(GradientOptions):
    """`{"kind": "boil", "steps": 1, "learning_rate": 0.01}` and what gradient learners have in common.

    `head` must be "learned": no step would move a head of class means.
    """

    kind: Literal["boil"] = "boil"


def boil(options: BoilOptions, network: Network, loss: Loss, num_train_classes: int) -> Learner:
    """Return the learner whose inner loop moves the body under a head that stays; ValueError for other heads."""
    return gradient_learner(options, network, loss, "body")
