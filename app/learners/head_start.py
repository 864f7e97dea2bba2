"""What a task's head takes from its rows at once, without a step: class means, or the intercept that fits best."""

import math

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn import functional

from app.episode import Tree

LOG_SCALE = "head.log_scale"
START_LOGITS = 30.0
"""What a squared distance of 1 a feature starts as. Started at 1, a run was at 82% when one from 16 had 90%."""


def initial_log_scale(num_features: int) -> Tree:
    """Return the first value of the learned scale."""
    return {LOG_SCALE: torch.tensor(math.log(START_LOGITS / num_features))}


def class_means_head(
    features_SF: Float[Tensor, "S F"],
    targets_S: Tensor,
    row_mask_S: Bool[Tensor, "S"],
    class_mask_N: Bool[Tensor, "N"],
    log_scale: Float[Tensor, ""],
) -> Tree:
    """Return the linear head whose logits are minus scaled squared distances to the class means.

    Snell et al. 2017, equation 8: weight 2 c_n and bias -|c_n|^2, both times exp(log_scale).
    """
    member_SN = functional.one_hot(targets_S, class_mask_N.shape[0]) * row_mask_S[:, None]
    member_SN = member_SN.to(features_SF.dtype)
    count_N1 = member_SN.sum(dim=0).clamp(min=1.0)[:, None]
    means_NF = member_SN.T @ features_SF / count_N1
    scale = log_scale.exp()
    return {"head.weight": 2.0 * scale * means_NF, "head.bias": -scale * means_NF.square().sum(dim=1)}


def fitted_intercept(
    outputs_SD: Float[Tensor, "S D"], targets_SD: Float[Tensor, "S D"], weights_S: Float[Tensor, "S"]
) -> Float[Tensor, "D"]:
    """Return the intercept that makes the squared error of these rows least: their mean residual.

    A level is a direction with far more curvature than any slope, so that steps short enough for it are too short for
    the rest; solving for it leaves the steps to what is hard. 0 when no row counts.
    """
    return weights_S.to(outputs_SD.dtype) @ (targets_SD - outputs_SD)
