"""A kernel machine over learned features: its kernel is learned across tasks, its coefficients are solved for in each.

Deep kernel transfer, Patacchiola et al. 2020, section 3, with a Gaussian kernel whose width and strength are learned.
Numbers: kernel ridge regression, the mean of their Gaussian process. Classes: they fit one Gaussian process a class
to labels of +-1; we fit kernel logistic regression (Zhu and Hastie 2005, equation 5, of several classes), whose
outputs are logits, by a fixed number of steps under Boehning's bound on its curvature (1992, section 2), accelerated
(Nesterov 1983). The first of these steps is twice kernel ridge regression, of twice the strength, on one-hot labels
less 1 over the number of classes.
"""

import math
from typing import Annotated, Literal

import torch
from jaxtyping import Float
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor

from app.episode import Episode, MetaParams, Settings, Support, TaskParams, Trace, Tree
from app.learners.gradient import CLASS_MASK
from app.learners.learner import Learner, Metrics, Traits, judge_by, loss_after_adapting
from app.learners.losses import Loss, mask_classes, masked_mean
from app.learners.moving import masked, moving_leaves
from app.learners.pairs import pairs_loss_of_parts
from app.networks.network import Network
from app.trees import merge

LOG_WIDTH, LOG_STRENGTH, LOG_SCALE = "head.log_width", "head.log_strength", "head.log_scale"
FEATURES, COEFFICIENTS = "support.features", "support.coefficients"
CURVATURE = 0.5
"""Boehning's bound: no direction of the negative log likelihood of a softmax curves more, whatever the logits."""

Positive = Annotated[float, Field(gt=0, le=1e6, allow_inf_nan=False)]


class KernelOptions(BaseModel):
    """`{"kind": "kernel", "width": 1.0, "strength": 0.03, "iterations": 20}`.

    Before meta-training, which learns both: `width` is the factor w in exp(-w |a - b|^2 / 2F) of F features, so that
    it is exp(w (cosine - 1)) where features have a mean square of 1; `strength` the penalty on squared length.
    `iterations` is how often classes' coefficients are improved; numbers are solved for at once. `objective`:
    "episodes" is the loss of the queries; "pairs", for classes, asks each part of the features to tell an episode's
    rows apart by itself (see `pairs_loss_of_parts`) and leaves width and strength as they are.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)
    kind: Literal["kernel"] = "kernel"
    width: Positive = 1.0
    strength: Positive = 0.03
    iterations: Annotated[int, Field(ge=1, le=100)] = 20
    objective: Literal["episodes", "pairs"] = "episodes"


def kernel(options: KernelOptions, network: Network, loss: Loss, num_train_classes: int) -> Learner:
    """Return the learner whose task parameters are the support's features and a coefficient for each row and output."""
    classifies = loss.output_kind == "classification"
    if options.objective == "pairs" and not classifies:
        raise ValueError("objective 'pairs' is about rows of one class; these targets are numbers: use 'episodes'")
    # Nothing of the network's own head is used: any number of classes, and numbers of any length, fit.
    traits = Traits(
        loss.output_kind, takes_steps=False, steps=0, learning_rate=None, learned_rates=False, any_ways=classifies
    )

    def init(generator: torch.Generator) -> MetaParams:
        start = {LOG_WIDTH: options.width, LOG_STRENGTH: options.strength} | ({LOG_SCALE: 1.0} if classifies else {})
        leaves = {name: torch.tensor(math.log(value)) for name, value in start.items()}
        return MetaParams(merge(moving_leaves("body", network.init(generator)), leaves), {})

    def adapt(meta: MetaParams, support: Support, settings: Settings, noise: Tree) -> tuple[TaskParams, Trace]:
        leaves = merge(meta.fixed, meta.trained)
        # Padding is put to zero before anything is multiplied: what it holds may not be finite.
        features_SF = torch.where(support.row_mask[:, None], network.features(leaves, support.inputs), 0.0)
        both_SS = support.row_mask[:, None] & support.row_mask
        gram_SS = torch.where(both_SS, gaussian(features_SF, features_SF, leaves[LOG_WIDTH]), 0.0).double()
        strength = leaves[LOG_STRENGTH].exp().double()
        if classifies:
            solved_SO = _logistic(gram_SS, support, strength, options.iterations)
            solved_SO = solved_SO * leaves[LOG_SCALE].exp()
        else:
            targets_SO = torch.where(support.row_mask[:, None], support.targets, 0.0).double()
            solved_SO = torch.cholesky_solve(targets_SO, _factor(gram_SS, strength))
        changed = {FEATURES: features_SF, COEFFICIENTS: solved_SO.to(features_SF.dtype).contiguous()}
        outputs_SO = masked((gram_SS @ solved_SO).to(features_SF.dtype), support.class_mask)
        value = masked_mean(loss.rows(outputs_SO, support.targets), support.row_mask)
        return merge(changed, {CLASS_MASK: support.class_mask} if classifies else {}), Trace(value[None])

    def predict(meta: MetaParams, task_params: TaskParams, inputs_Q: Tensor) -> Tensor:
        leaves = merge(meta.fixed, meta.trained)
        likeness_QS = gaussian(network.features(leaves, inputs_Q), task_params[FEATURES], leaves[LOG_WIDTH])
        outputs_QO = likeness_QS @ task_params[COEFFICIENTS]
        return mask_classes(outputs_QO, task_params[CLASS_MASK]) if classifies else outputs_QO

    def of_pairs(
        meta: MetaParams, episode: Episode, settings: Settings, noise: Tree, progress: Tensor
    ) -> tuple[Tensor, Metrics]:
        inputs_R, targets_R, row_mask_R = episode.rows()
        features_RF = network.features(merge(meta.fixed, meta.trained), inputs_R)
        parts = network.parts or (network.num_features,)
        value = pairs_loss_of_parts(features_RF, parts, targets_R, row_mask_R, episode.support.class_mask.shape[0])
        return value, {"loss": value}

    by_objective = {"episodes": loss_after_adapting(adapt, predict, loss), "pairs": of_pairs}
    return Learner(traits, loss, init, adapt, predict, by_objective[options.objective], judge_by(loss))


def gaussian(
    one_AF: Float[Tensor, "A F"], other_BF: Float[Tensor, "B F"], log_width: Float[Tensor, ""]
) -> Float[Tensor, "A B"]:
    """Return exp(-width |a - b|^2 / 2F) of all pairs; the squares are written out, for second derivatives."""
    squares_AB = one_AF.square().sum(dim=1)[:, None] + other_BF.square().sum(dim=1) - 2.0 * one_AF @ other_BF.T
    return (-0.5 / one_AF.shape[1] * log_width.exp() * squares_AB.clamp(min=0.0)).exp()


def _logistic(
    gram_SS: Float[Tensor, "S S"], support: Support, strength: Tensor, iterations: int
) -> Float[Tensor, "S N"]:
    """Return the coefficients of kernel logistic regression: those of wanted minus given probability, over strength.

    Each iteration solves a quadratic that lies on or above the loss and touches it, from a point that is as far
    ahead as the last one moved.
    """
    classes_N = torch.arange(len(support.class_mask), device=support.targets.device)
    wanted_SN = (support.targets[:, None] == classes_N) & support.row_mask[:, None]
    factor = _factor(CURVATURE * gram_SS, strength)
    now_SN = before_SN = torch.zeros_like(wanted_SN, dtype=gram_SS.dtype)
    for i in range(iterations):
        ahead_SN = now_SN + i / (i + 3) * (now_SN - before_SN)
        given_SN = masked(gram_SS @ ahead_SN, support.class_mask).softmax(dim=1)
        missing_SN = torch.where(support.row_mask[:, None], wanted_SN.to(gram_SS.dtype) - given_SN, 0.0)
        before_SN, now_SN = now_SN, ahead_SN + torch.cholesky_solve(missing_SN - strength * ahead_SN, factor)
    return now_SN


def _factor(gram_SS: Tensor, strength: Tensor) -> Tensor:
    """Return the Cholesky factor of gram + strength identity, in float64.

    It does not look at what it finds: one that raised on a task that is not finite would take its neighbours in a
    batch with it.
    """
    identity = torch.eye(gram_SS.shape[-1], dtype=gram_SS.dtype, device=gram_SS.device)
    lower, _ = torch.linalg.cholesky_ex(gram_SS + strength * identity)
    factor: Tensor = lower
    return factor
