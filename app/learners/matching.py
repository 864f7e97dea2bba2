"""Matching networks: a row's class is that of the support rows it is most like (Vinyals et al. 2016).

Equation 1 with the attention of equation 2, a softmax over cosines. Differs: support and query share one embedding,
which sees a row alone (no full-context embeddings, their section 2.1.2); and the cosines have a learned sharpness in
place of 1, without which no softmax over cosines comes near certainty. A class's logit is the logarithm of its share
of the attention, so that the shares are the probabilities.
"""

import math
from typing import Literal

import torch
from jaxtyping import Bool, Float
from pydantic import BaseModel, ConfigDict
from torch import Tensor
from torch.nn import functional

from app.episode import MetaParams, Settings, Support, TaskParams, Trace, Tree
from app.learners.gradient import CLASS_MASK
from app.learners.learner import Learner, Traits, judge_by, loss_after_adapting
from app.learners.losses import Loss, mask_classes, masked_mean
from app.learners.moving import moving_leaves
from app.networks.network import Network
from app.trees import merge

FEATURES, TARGETS, ROW_MASK = "support.features", "support.targets", "support.row_mask"
SHARPNESS = "head.sharpness"
START_SHARPNESS = 10.0
MAX_SHARPNESS = 40.0
"""Cosines differ by at most 2, so no row that counts gets less than exp(-80) of the attention of another. Of a thousand
rows that is still a float32 above 0, whose logarithm needs no floor; past a floor there would be no gradient."""


class MatchingOptions(BaseModel):
    """`{"kind": "matching"}`: nothing to choose."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)
    kind: Literal["matching"] = "matching"


def matching(options: MatchingOptions, network: Network, loss: Loss, num_train_classes: int) -> Learner:
    """Return the learner whose task parameters are the embedded support; ValueError for targets that are numbers."""
    if loss.output_kind != "classification":
        raise ValueError("matching networks need classes; these targets are numbers: use kind 'ridge' or 'mann'")
    traits = Traits(
        "classification", takes_steps=False, steps=0, learning_rate=None, learned_rates=False, any_ways=True
    )

    def init(generator: torch.Generator) -> MetaParams:
        body = moving_leaves("body", network.init(generator))
        start = torch.tensor(math.log(START_SHARPNESS / (MAX_SHARPNESS - START_SHARPNESS)))
        return MetaParams(merge(body, {SHARPNESS: start}), {})

    def embedded(meta: MetaParams, inputs_R: Tensor) -> Tensor:
        return functional.normalize(network.features(merge(meta.fixed, meta.trained), inputs_R), dim=1)

    def adapt(meta: MetaParams, support: Support, settings: Settings, noise: Tree) -> tuple[TaskParams, Trace]:
        features_SF = embedded(meta, support.inputs)
        task_params = {
            FEATURES: features_SF,
            TARGETS: support.targets,
            ROW_MASK: support.row_mask,
            CLASS_MASK: support.class_mask,
        }
        # Each row attends to itself too: this tells how far the classes overlap, not how well new rows are judged.
        logits_SN = _logits(meta, task_params, features_SF)
        return task_params, Trace(masked_mean(loss.rows(logits_SN, support.targets), support.row_mask)[None])

    def predict(meta: MetaParams, task_params: TaskParams, inputs_Q: Tensor) -> Tensor:
        return _logits(meta, task_params, embedded(meta, inputs_Q))

    return Learner(traits, loss, init, adapt, predict, loss_after_adapting(adapt, predict, loss), judge_by(loss))


def _logits(meta: MetaParams, task_params: TaskParams, features_RF: Tensor) -> Tensor:
    """Return the logarithm of each class's share of the attention [R, N]."""
    scores_RS = MAX_SHARPNESS * meta.trained[SHARPNESS].sigmoid() * features_RF @ task_params[FEATURES].T
    return log_shares(scores_RS, task_params[TARGETS], task_params[ROW_MASK], task_params[CLASS_MASK])


def log_shares(
    scores_RS: Float[Tensor, "R S"], targets_S: Tensor, row_mask_S: Bool[Tensor, "S"], class_mask_N: Bool[Tensor, "N"]
) -> Float[Tensor, "R N"]:
    """Return the logarithm of what a softmax over the support rows that count gives to each class.

    The least number for classes that are absent or have no row that counts.
    """
    attention_RS = mask_classes(scores_RS, row_mask_S).softmax(dim=1)
    classes_N = torch.arange(class_mask_N.shape[0], device=targets_S.device)
    member_SN = (targets_S[:, None] == classes_N) & row_mask_S[:, None]
    found_N = class_mask_N & member_SN.any(dim=0)
    shares_RN = attention_RS @ member_SN.to(scores_RS.dtype)
    # Ones where nothing is found, before the logarithm and not after it: that of 0 has no finite gradient.
    return mask_classes(torch.where(found_N, shares_RN, 1.0).log(), found_N)
