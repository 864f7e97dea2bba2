"""Prototypical networks: a row's class is that of the nearest mean of support features (Snell et al. 2017).

Equations 1 and 2 with squared Euclidean distances, written as a linear head (their equation 8). The distances have a
learned scale, which is the temperature of the probabilities.
"""

from typing import Literal

import torch
from pydantic import BaseModel, ConfigDict
from torch import Tensor

from app.episode import Episode, MetaParams, Settings, Support, TaskParams, Trace, Tree
from app.learners.gradient import CLASS_MASK, predictor
from app.learners.head_start import LOG_SCALE, class_means_head, initial_log_scale
from app.learners.learner import Learner, MetaLoss, Metrics, Traits, judge_by, loss_after_adapting, query_metrics
from app.learners.losses import Loss, mask_classes, masked_mean
from app.learners.moving import moving_leaves
from app.learners.pairs import pairs_loss
from app.networks.network import Network, head
from app.trees import merge


class PrototypicalOptions(BaseModel):
    """`{"kind": "prototypical", "objective": "pairs"}`.

    `objective`: "episodes" is the loss of the queries under the support's class means, as published; "pairs" that of
    every row of an episode under every other row of its class, which takes more from the same rows (see `pairs_loss`).
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)
    kind: Literal["prototypical"] = "prototypical"
    objective: Literal["episodes", "pairs"] = "episodes"


def prototypical(options: PrototypicalOptions, network: Network, loss: Loss, num_train_classes: int) -> Learner:
    """Return the learner whose task parameters are a head of class means; ValueError for targets that are numbers."""
    if loss.output_kind != "classification":
        raise ValueError("prototypical networks need classes; these targets are numbers: use kind 'ridge'")
    traits = Traits(
        "classification", takes_steps=False, steps=0, learning_rate=None, learned_rates=False, any_ways=True
    )

    def init(generator: torch.Generator) -> MetaParams:
        body = moving_leaves("body", network.init(generator))
        return MetaParams(merge(body, initial_log_scale(network.num_features)), {})

    def adapt(meta: MetaParams, support: Support, settings: Settings, noise: Tree) -> tuple[TaskParams, Trace]:
        leaves = merge(meta.fixed, meta.trained)
        features_SF = network.features(leaves, support.inputs)
        means_head = class_means_head(features_SF, *support[1:], leaves[LOG_SCALE])
        logits_SN = mask_classes(head(means_head, features_SF), support.class_mask)
        value = masked_mean(loss.rows(logits_SN, support.targets), support.row_mask)
        return merge(means_head, {CLASS_MASK: support.class_mask}), Trace(value[None])

    predict = predictor(network)
    by_objective = {
        "episodes": loss_after_adapting(adapt, predict, loss),
        "pairs": _loss_of_pairs(network, loss),
    }
    return Learner(traits, loss, init, adapt, predict, by_objective[options.objective], judge_by(loss))


def _loss_of_pairs(network: Network, loss: Loss) -> MetaLoss:
    """Return the meta-loss over all pairs of an episode's rows; its metrics are those of the queries all the same."""

    def meta_loss(
        meta: MetaParams, episode: Episode, settings: Settings, noise: Tree, progress: Tensor
    ) -> tuple[Tensor, Metrics]:
        leaves, (support, query, _) = merge(meta.fixed, meta.trained), episode
        inputs_R, targets_R, row_mask_R = episode.rows()
        features_RF = network.features(leaves, inputs_R)
        num_classes = support.class_mask.shape[0]
        value = pairs_loss(features_RF, targets_R, row_mask_R, num_classes, leaves[LOG_SCALE].exp())
        num_support = support.inputs.shape[0]
        means_head = class_means_head(features_RF[:num_support], *support[1:], leaves[LOG_SCALE])
        logits_QN = mask_classes(head(means_head, features_RF[num_support:]), support.class_mask)
        return value, query_metrics(loss, logits_QN, query)

    return meta_loss
