"""Reptile: an initialisation close to where each task's training leads.

Nichol, Achiam, Schulman 2018, "On First-Order Meta-Learning Algorithms", algorithm 2: after k steps of SGD from theta
to phi on mini-batches of one task, theta moves towards phi; theta - phi is the gradient that the outer optimiser is
given, whichever it is. Differs: the inner optimiser is plain SGD, theirs for pictures Adam without momentum;
mini-batches are parts of all rows of the episode, support and query, that are gone through in turn; adapting to a
new task goes down the loss of all its support rows at once.
"""

from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor

from app.episode import Episode, MetaParams, Settings, Support, Tree
from app.learners.gradient import GradientOptions, gradient_learner
from app.learners.learner import Adapt, Learner, Metrics, query_metrics
from app.learners.losses import Loss
from app.networks.network import Network


class ReptileOptions(GradientOptions):
    """`{"kind": "reptile", "steps": 5, "learning_rate": 0.01, "minibatches": 5}`.

    `minibatches`: parts that an episode's rows are dealt to in turn; step i takes part i, and after the last the
    first again. Rates are fixed, the head is learned and weights of rows are not: theta - phi says nothing about what
    else could be trained.
    """

    kind: Literal["reptile"] = "reptile"
    steps: Annotated[int, Field(ge=1, le=100)] = 5
    first_order: Literal[True] = True
    rates: Literal["fixed"] = "fixed"
    head: Literal["learned"] = "learned"
    row_weights: Literal["equal", "balanced"] = "equal"
    minibatches: Annotated[int, Field(ge=1, le=100)] = 5


def reptile(options: ReptileOptions, network: Network, loss: Loss, num_train_classes: int) -> Learner:
    """Return the learner whose meta-loss is half the squared distance from theta to phi, phi held constant.

    The gradient of that is theta - phi. The metrics are the usual ones, of the query after adapting to the support.
    """
    learner = gradient_learner(options, network, loss, "all")

    def meta_loss(
        meta: MetaParams, episode: Episode, settings: Settings, noise: Tree, progress: Tensor
    ) -> tuple[Tensor, Metrics]:
        held = MetaParams({name: leaf.detach() for name, leaf in meta.trained.items()}, meta.fixed)
        phi = _trained_on(learner.adapt, held, minibatches(episode, options.minibatches), settings, noise)
        distances = [(leaf - phi[name]).square().sum() for name, leaf in meta.trained.items()]
        task_params, _ = learner.adapt(held, episode.support, settings, noise)
        outputs_QO = learner.predict(held, task_params, episode.query.inputs)
        return 0.5 * torch.stack(distances).sum(), query_metrics(loss, outputs_QO, episode.query)

    return learner._replace(meta_loss=meta_loss)


def minibatches(episode: Episode, num_batches: int) -> list[Support]:
    """Return the rows of support and query, dealt in turn to at most `num_batches` parts.

    Rows of one class follow each other when they are dealt, so that the parts have equal shares of it; padding comes
    last, so that it moves no row to another part.
    """
    support, query, _ = episode
    inputs_R, targets_R, mask_R = (torch.cat(pair) for pair in zip(support[:3], query, strict=True))
    num_classes = support.class_mask.shape[0]
    class_R = targets_R if num_classes else torch.zeros_like(mask_R, dtype=torch.int64)
    order_R = torch.where(mask_R, class_R, num_classes + 1).argsort(stable=True)
    inputs_R, targets_R, mask_R = inputs_R[order_R], targets_R[order_R], mask_R[order_R]
    parts = [slice(first, None, num_batches) for first in range(min(num_batches, mask_R.shape[0]))]
    return [Support(inputs_R[part], targets_R[part], mask_R[part], support.class_mask) for part in parts]


def _trained_on(adapt: Adapt, meta: MetaParams, batches: list[Support], settings: Settings, noise: Tree) -> Tree:
    """Return the trained leaves after `settings.steps` steps, one on each of the mini-batches in turn."""
    one_step = Settings(1, settings.rate_scale, traces_end=False, first_order=True)
    params = meta.trained
    for step in range(settings.steps):
        moved, _ = adapt(MetaParams(params, meta.fixed), batches[step % len(batches)], one_step, noise)
        params = {name: moved.get(name, leaf) for name, leaf in params.items()}
    return params
