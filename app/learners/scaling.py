"""Scaling as a part of the model: rows are centred and divided inside, so that callers keep their units.

The means and deviations are fixed leaves of the initialisation; no learner knows of them. The loss that is minimised
is that of scaled targets. What is told of it (traces, metrics) is in the caller's units where a target is one
number: squared errors, and Huber losses whose delta is one deviation, grow with its square. Losses over several
numbers, which may have several units, stay relative to the variance of the training split.
"""

import torch
from torch import Tensor

from app.episode import Episode, MetaParams, Query, Scaling, Settings, Support, TaskParams, Trace, Tree
from app.learners.learner import Learner, Metrics
from app.trees import merge

INPUT_MEAN, INPUT_STD = "scaling.inputs.mean", "scaling.inputs.std"
TARGET_MEAN, TARGET_STD = "scaling.targets.mean", "scaling.targets.std"


def with_scaling(learner: Learner, scaling: Scaling) -> Learner:
    """Return the learner over rows that are scaled first; targets too, where `scaling` has any numbers for them."""
    of_targets = scaling.target_mean.shape[0] > 0
    leaves = {INPUT_MEAN: scaling.input_mean, INPUT_STD: scaling.input_std}
    if of_targets:
        leaves = merge(leaves, {TARGET_MEAN: scaling.target_mean, TARGET_STD: scaling.target_std})

    def init(generator: torch.Generator) -> MetaParams:
        trained, fixed = learner.init(generator)
        return MetaParams(trained, merge(fixed, {name: leaf.clone() for name, leaf in leaves.items()}))

    def scaled_inputs(meta: MetaParams, inputs_R: Tensor) -> Tensor:
        return (inputs_R - meta.fixed[INPUT_MEAN]) / meta.fixed[INPUT_STD]

    def scaled_targets(meta: MetaParams, targets_R: Tensor) -> Tensor:
        return (targets_R - meta.fixed[TARGET_MEAN]) / meta.fixed[TARGET_STD] if of_targets else targets_R

    def scaled_support(meta: MetaParams, support: Support) -> Support:
        inputs_S, targets_S = scaled_inputs(meta, support.inputs), scaled_targets(meta, support.targets)
        mask_S = support.row_mask
        return support._replace(inputs=_padded(inputs_S, mask_S), targets=_padded(targets_S, mask_S))

    def scaled_query(meta: MetaParams, query: Query) -> Query:
        inputs_Q, targets_Q = scaled_inputs(meta, query.inputs), scaled_targets(meta, query.targets)
        return query._replace(inputs=_padded(inputs_Q, query.row_mask), targets=_padded(targets_Q, query.row_mask))

    def unit(meta: MetaParams) -> Tensor | float:
        """Return what a loss of scaled targets is multiplied by to be in the caller's units."""
        return meta.fixed[TARGET_STD].square().sum() if of_targets and leaves[TARGET_STD].numel() == 1 else 1.0

    def in_units(meta: MetaParams, metrics: Metrics) -> Metrics:
        return {**metrics, "loss": metrics["loss"] * unit(meta)}

    def adapt(meta: MetaParams, support: Support, settings: Settings, noise: Tree) -> tuple[TaskParams, Trace]:
        task_params, trace = learner.adapt(meta, scaled_support(meta, support), settings, noise)
        return task_params, Trace(trace.support_loss * unit(meta))

    def predict(meta: MetaParams, task_params: TaskParams, inputs_Q: Tensor) -> Tensor:
        outputs_QO = learner.predict(meta, task_params, scaled_inputs(meta, inputs_Q))
        return outputs_QO * meta.fixed[TARGET_STD] + meta.fixed[TARGET_MEAN] if of_targets else outputs_QO

    def meta_loss(
        meta: MetaParams, episode: Episode, settings: Settings, noise: Tree, progress: Tensor
    ) -> tuple[Tensor, Metrics]:
        support, query = scaled_support(meta, episode.support), scaled_query(meta, episode.query)
        scaled = episode._replace(support=support, query=query)
        loss, found = learner.meta_loss(meta, scaled, settings, noise, progress)
        return loss, in_units(meta, found)

    def metrics(meta: MetaParams, outputs_QO: Tensor, query: Query) -> Metrics:
        found = learner.metrics(meta, scaled_targets(meta, outputs_QO), scaled_query(meta, query))
        return in_units(meta, found)

    return learner._replace(init=init, adapt=adapt, predict=predict, meta_loss=meta_loss, metrics=metrics)


def _padded(leaf_R: Tensor, row_mask_R: Tensor) -> Tensor:
    """Return zeros in the rows of padding: divided by a small deviation they might not be finite."""
    mask = row_mask_R.reshape(-1, *[1] * (leaf_R.dim() - 1))
    return torch.where(mask, leaf_R, torch.zeros_like(leaf_R))
