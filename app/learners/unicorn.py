"""UNICORN-MAML: MAML whose classes all start from one learned vector, so that their order and number do not matter.

Ye and Chao 2022, "How to Train Your MAML to Excel in Few-Shot Classification", section 5. MAML's head has a row a
class, and which class of a task gets which row is chance; here all rows start as one vector `head.shared`, whose
meta-gradient is the sum over the classes. Differs: the bias starts from 0 and is not meta-learned, since one number for
all classes changes no probability. Before the first step all logits of a row are equal, so that the first step moves
the head alone; the paper finds that many steps (15 to 20) are needed.
"""

from typing import Annotated, Literal

from pydantic import Field

from app.learners.gradient import GradientOptions, gradient_learner
from app.learners.learner import Learner
from app.learners.losses import Loss
from app.networks.network import Network


class UnicornOptions(GradientOptions):
    """`{"kind": "unicorn", "steps": 5, "learning_rate": 0.1}`: MAML's options, `head` always "shared"."""

    kind: Literal["unicorn"] = "unicorn"
    steps: Annotated[int, Field(ge=1, le=100)] = 5
    learning_rate: Annotated[float, Field(gt=0, le=10, allow_inf_nan=False)] = 0.1
    head: Literal["shared"] = "shared"


def unicorn(options: UnicornOptions, network: Network, loss: Loss, num_train_classes: int) -> Learner:
    """Return the learner whose inner loop moves every leaf from a head of equal classes; ValueError for numbers."""
    return gradient_learner(options, network, loss, "all")
