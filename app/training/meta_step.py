"""The meta-gradient: the mean over tasks of the gradient of each task's meta-loss."""

import torch
from torch import Tensor

from app.episode import Episode, MetaParams, Settings, Tree
from app.learners.learner import NO_NOISE, Learner, Metrics


def meta_gradient(
    learner: Learner,
    meta: MetaParams,
    episodes: Episode,
    steps: int,
    progress: Tensor,
    *,
    first_order: bool = False,
) -> tuple[Tree, Metrics]:
    """Return the gradient over the trained leaves and each metric's mean over tasks.

    `episodes` has a leading axis T on every tensor; `progress` [] runs from 0 to 1. A leaf that the meta-loss
    does not reach gets a gradient of zeros. With `first_order` second derivatives are left out. Nothing given is
    changed.
    """
    trained = {name: leaf.detach().requires_grad_() for name, leaf in meta.trained.items()}
    settings = Settings(steps, torch.ones((), device=progress.device), traces_end=False, first_order=first_order)

    def task_loss(episode: Episode) -> tuple[Tensor, Metrics]:
        return learner.meta_loss(MetaParams(trained, meta.fixed), episode, settings, NO_NOISE, progress)

    loss_T, metrics_T = torch.vmap(task_loss)(episodes)
    leaves = list(trained.values())
    gradients = torch.autograd.grad(loss_T.mean(), leaves, allow_unused=True, materialize_grads=True)
    metrics = {name: values.detach().mean() for name, values in metrics_T.items()}
    return dict(zip(trained, gradients, strict=True)), {**metrics, "meta_loss": loss_T.detach().mean()}
