"""Normalisation by means and variances of a task's support, channel by channel, in place of those of a batch.

In the line of Bronskill et al. 2020, "TaskNorm": statistics of the support alone, found once a task, so that no
row of an answer depends on its neighbours (MetaBN, their section 3.2), regularised because a support may be one row.
Differs: they mix with the statistics of each row itself by a learned function of the number of rows; here the support
is mixed with a mean and a variance learned for each layer, that weigh as much as a learned number of rows.
"""

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from app.episode import Tree

PRIOR, NORM = "prior.", "norm."
"""How the names begin of what is learned, and of what a task has instead."""
LEAST_VARIANCE = 1e-5
"""Beside a variance, as in the norms of torch."""


def initial_prior(layer: int, num_channels: int) -> Tree:
    """Return a layer's learned leaves at first: mean 0 and variance 1, which weigh as much as one row."""
    return {
        f"{PRIOR}{layer}.mean": torch.zeros(num_channels),
        f"{PRIOR}{layer}.log_variance": torch.zeros(num_channels),
        f"{PRIOR}{layer}.log_rows": torch.zeros(()),
    }


def support_moments(
    params: Tree, layer: int, maps_S: Float[Tensor, "S C H W"], row_mask_S: Bool[Tensor, "S"]
) -> dict[str, Float[Tensor, "C"]]:
    """Return a layer's `mean` and `variance` over the rows that count and the learned ones together.

    Finite for any number of rows: one row, equal rows, no row at all.
    """
    prior_mean, prior_variance = params[f"{PRIOR}{layer}.mean"], params[f"{PRIOR}{layer}.log_variance"].exp()
    num_rows = row_mask_S.sum().to(maps_S.dtype)
    weights_S = row_mask_S.to(maps_S.dtype) / num_rows.clamp(min=1.0)
    maps_S = torch.where(row_mask_S[:, None, None, None], maps_S, 0.0)
    mean = weights_S @ maps_S.mean(dim=(2, 3))
    variance = weights_S @ (maps_S - mean[:, None, None]).square().mean(dim=(2, 3))
    share = num_rows / (num_rows + params[f"{PRIOR}{layer}.log_rows"].exp())
    apart = mean - prior_mean
    # The variance of a mixture: that within its two parts, and that between their means.
    mixed_variance = share * variance + (1.0 - share) * (prior_variance + share * apart.square())
    return {f"{NORM}{layer}.mean": prior_mean + share * apart, f"{NORM}{layer}.variance": mixed_variance}


def support_normed(params: Tree, layer: int, maps_R: Float[Tensor, "R C H W"]) -> Float[Tensor, "R C H W"]:
    """Return the maps centred and divided by what `support_moments` found; row by row."""
    mean, variance = params[f"{NORM}{layer}.mean"], params[f"{NORM}{layer}.variance"]
    scale = (variance + LEAST_VARIANCE).rsqrt()
    return (maps_R - mean[:, None, None]) * scale[:, None, None]
