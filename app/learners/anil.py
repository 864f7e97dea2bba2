"""ANIL: MAML whose inner loop moves the head alone.

Raghu et al. 2020, "Rapid Learning or Feature Reuse? Towards Understanding the Effectiveness of MAML", section 5.
The features of the support are computed once, since no step changes them.
"""

from typing import Literal

from app.learners.gradient import GradientOptions, gradient_learner
from app.learners.learner import Learner
from app.learners.losses import Loss
from app.networks.network import Network


class AnilOptions(GradientOptions):
    """`{"kind": "anil", "steps": 1, "learning_rate": 0.01}` and what gradient learners have in common."""

    kind: Literal["anil"] = "anil"


def anil(options: AnilOptions, network: Network, loss: Loss, num_train_classes: int) -> Learner:
    """Return the learner whose inner loop moves the head over features that stay."""
    return gradient_learner(options, network, loss, "head")
