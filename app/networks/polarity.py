"""Which tone of a picture is ink."""

import torch
from torch import Tensor

EITHER_POLARITY = "either: the rarer tone of a picture is taken as ink"


def ink_first(inputs_R: Tensor) -> Tensor:
    """Return pictures [R, C, H, W] of 0..1 turned such that each one's rarer tone is 1."""
    mostly_light_R = inputs_R.mean(dim=(1, 2, 3), keepdim=True) > 0.5
    return torch.where(mostly_light_R, 1.0 - inputs_R, inputs_R)
