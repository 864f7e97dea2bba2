"""The meta-gradient: the mean over tasks of the gradient of each task's meta-loss."""

import torch
from torch import Tensor

from app.episode import Episode, MetaParams, Settings, Tree
from app.learners.learner import NO_NOISE, Learner, Metrics
from app.training.portions import cached_size, parts


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
    changed. Tasks of pictures are taken in parts of equal size.
    """
    found = [
        part_gradient(learner, meta, part, steps, progress, first_order=first_order)
        for part in parts(episodes, cached_size(episodes))
    ]
    gradients, metrics = ([part[i] for part in found] for i in (0, 1))
    return mean_of(gradients), mean_of(metrics)


def part_gradient(
    learner: Learner, meta: MetaParams, episodes: Episode, steps: int, progress: Tensor, *, first_order: bool
) -> tuple[Tree, Metrics]:
    """Return the same of tasks that are taken all at once."""
    trained = {name: leaf.detach().requires_grad_() for name, leaf in meta.trained.items()}
    settings = Settings(steps, torch.ones((), device=progress.device), traces_end=False, first_order=first_order)

    def task_loss(episode: Episode) -> tuple[Tensor, Metrics]:
        return learner.meta_loss(MetaParams(trained, meta.fixed), episode, settings, NO_NOISE, progress)

    loss_T, metrics_T = torch.vmap(task_loss)(episodes)
    leaves = list(trained.values())
    gradients = torch.autograd.grad(loss_T.mean(), leaves, allow_unused=True, materialize_grads=True)
    metrics = {name: values.detach().mean() for name, values in metrics_T.items()}
    return dict(zip(trained, gradients, strict=True)), {**metrics, "meta_loss": loss_T.detach().mean()}


def mean_of(trees: list[Tree]) -> Tree:
    """Return the mean of trees, summed in their order."""
    if len(trees) == 1:
        return trees[0]
    return {name: torch.stack([tree[name] for tree in trees]).mean(dim=0) for name in trees[0]}
