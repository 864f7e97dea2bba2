"""The core contract: a learner is pure functions over ONE task; many tasks are vmap of them."""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from app.episode import (
    Episode,
    MetaParams,
    OutputKind,
    Query,
    Settings,
    Support,
    TaskParams,
    Trace,
    Tree,
)
from app.learners.losses import Loss, accuracy, masked_mean

Metrics = Tree

Adapt = Callable[[MetaParams, Support, Settings, Tree], tuple[TaskParams, Trace]]
"""(meta_params, support, settings, noise) -> task_params, trace."""
Predict = Callable[[MetaParams, TaskParams, Tensor], Tensor]
"""(meta_params, task_params, inputs_Q) -> outputs_QO, logits for classification; row by row."""
MetaLoss = Callable[[MetaParams, Episode, Settings, Tree, Tensor], tuple[Tensor, Metrics]]
"""(meta_params, episode, settings, noise, progress) -> loss and metrics of one task; `progress` [] runs from 0
to 1 over meta-training."""
Judge = Callable[[MetaParams, Tensor, Query], Metrics]
"""(meta_params, outputs_QO, query) -> metrics of the query rows that count, in the caller's units."""


class Traits(NamedTuple):
    """What the rest of the system may know of a learner."""

    output_kind: OutputKind
    takes_steps: bool
    """Whether adaptation is a number of gradient steps that a caller may choose."""
    steps: int
    """Steps in meta-training; 0 for learners that take none."""
    learning_rate: float | None
    """The inner rate where it is one fixed number that a caller may replace; else None."""
    learned_rates: bool
    """Whether rates are learned: they hold for at most `steps` steps, and a caller may only scale them."""
    first_order_share: float = 0.0
    """The share of meta-training, from its start, in which the trainer sets `Settings.first_order`."""
    any_ways: bool = False
    """Whether the initialisation has no row a class, so that a task may have any number of classes: that of its class
    mask, whatever the network was built with."""


class Learner(NamedTuple):
    """Functions without state; `noise` holds what random numbers a learner needs, drawn before any vmap."""

    traits: Traits
    loss: Loss
    init: Callable[[torch.Generator], MetaParams]
    adapt: Adapt
    predict: Predict
    meta_loss: MetaLoss
    metrics: Judge


NO_NOISE: Tree = {}


def query_metrics(loss: Loss, outputs_QO: Tensor, query: Query) -> Metrics:
    """Return the mean loss and, for classification, the accuracy over the query rows that count."""
    metrics = {"loss": masked_mean(loss.rows(outputs_QO, query.targets), query.row_mask)}
    if loss.output_kind == "classification":
        metrics["accuracy"] = accuracy(outputs_QO, query.targets, query.row_mask)
    return metrics


def judge_by(loss: Loss) -> Judge:
    """Return the usual `metrics`, which are those of `query_metrics`."""

    def metrics(meta: MetaParams, outputs_QO: Tensor, query: Query) -> Metrics:
        return query_metrics(loss, outputs_QO, query)

    return metrics


def loss_after_adapting(adapt: Adapt, predict: Predict, loss: Loss) -> MetaLoss:
    """Return the usual `meta_loss`: that of predicting the query after adapting on the support."""

    def meta_loss(
        meta: MetaParams, episode: Episode, settings: Settings, noise: Tree, progress: Tensor
    ) -> tuple[Tensor, Metrics]:
        task_params, _ = adapt(meta, episode.support, settings, noise)
        metrics = query_metrics(loss, predict(meta, task_params, episode.query.inputs), episode.query)
        return metrics["loss"], metrics

    return meta_loss
