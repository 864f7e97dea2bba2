"""What a task's head starts from without a step: class means, one vector for all classes, the intercept that fits."""

import math

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn import functional

from app.episode import Tree
from app.networks.initial import kaiming_uniform

LOG_SCALE = "head.log_scale"
SHARED = "head.shared"
"""[F], where all classes start."""
LEAST_TOTAL = 1e-3
"""Of the weights of a class that has rows; the mean of a class without is 0."""
START_LOGITS = 30.0
"""What a squared distance of 1 a feature starts as. Started at 1, a run was at 82% when one from 16 had 90%."""


def initial_log_scale(num_features: int) -> Tree:
    """Return the first value of the learned scale."""
    return {LOG_SCALE: torch.tensor(math.log(START_LOGITS / num_features))}


def class_means_head(
    features_SF: Float[Tensor, "S F"],
    targets_S: Tensor,
    weights_S: Bool[Tensor, "S"] | Float[Tensor, "S"],
    class_mask_N: Bool[Tensor, "N"],
    log_scale: Float[Tensor, ""],
) -> Tree:
    """Return the linear head whose logits are minus scaled squared distances to the class means.

    Snell et al. 2017, equation 8: weight 2 c_n and bias -|c_n|^2, both times exp(log_scale). `weights_S` is the row
    mask, or what each row counts in its class's mean, 0 for padding.
    """
    total_NF, weight_N = class_totals(features_SF, targets_S, weights_S, class_mask_N)
    return nearest_head(total_NF / weight_N[:, None].clamp(min=LEAST_TOTAL), log_scale)


def nearest_head(means_NF: Float[Tensor, "N F"], log_scale: Float[Tensor, ""]) -> Tree:
    """Return the linear head whose logits are minus scaled squared distances to these points, up to a number a row."""
    scale = log_scale.exp()
    return {"head.weight": 2.0 * scale * means_NF, "head.bias": -scale * means_NF.square().sum(dim=1)}


def class_totals(
    features_SF: Float[Tensor, "S F"],
    targets_S: Tensor,
    weights_S: Bool[Tensor, "S"] | Float[Tensor, "S"],
    class_mask_N: Bool[Tensor, "N"],
) -> tuple[Float[Tensor, "N F"], Float[Tensor, "N"]]:
    """Return the weighted sum of each class's features, and that of its weights."""
    member_SN = functional.one_hot(targets_S, class_mask_N.shape[0]) * weights_S[:, None]
    member_SN = member_SN.to(features_SF.dtype)
    return member_SN.T @ features_SF, member_SN.sum(dim=0)


def initial_shared(generator: torch.Generator, num_features: int) -> Tree:
    """Return the first value of the vector that every class starts from."""
    return {SHARED: kaiming_uniform(generator, (1, num_features), gain=1.0)[0]}


def shared_head(shared_F: Float[Tensor, "F"], num_classes: int) -> Tree:
    """Return the linear head all of whose classes have the same weights, and no bias (Ye and Chao 2022, section 5)."""
    return {"head.weight": shared_F.repeat(num_classes, 1), "head.bias": shared_F.new_zeros(num_classes)}


def fitted_intercept(
    outputs_SD: Float[Tensor, "S D"], targets_SD: Float[Tensor, "S D"], weights_S: Float[Tensor, "S"]
) -> Float[Tensor, "D"]:
    """Return the intercept that makes the squared error of these rows least: their mean residual.

    A level is a direction with far more curvature than any slope, so that steps short enough for it are too short for
    the rest; solving for it leaves the steps to what is hard. 0 when no row counts.
    """
    return weights_S.to(outputs_SD.dtype) @ (targets_SD - outputs_SD)
