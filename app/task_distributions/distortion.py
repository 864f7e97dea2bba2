"""Random affine distortion of pictures: the same character, written by one more hand."""

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional


def distorted(
    pictures_R: Float[Tensor, "R C H W"], strength: float, generator: torch.Generator
) -> Float[Tensor, "R C H W"]:
    """Return each picture under an affine map of its own.

    The map is the identity plus numbers uniform within +-`strength`: for the four of the matrix (turn, scale,
    shear) as they are, for the two of the shift in half-widths of the picture. What comes in from outside
    continues the border.
    """
    offsets_R = torch.rand(len(pictures_R), 2, 3, generator=generator) * 2.0 - 1.0
    maps_R = torch.eye(2, 3) + strength * offsets_R
    grid_R = functional.affine_grid(maps_R, list(pictures_R.shape), align_corners=False)
    return functional.grid_sample(pictures_R, grid_R, padding_mode="border", align_corners=False)
