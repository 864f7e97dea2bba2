"""Gradient steps on one task's loss, and the rates they are taken at."""

from collections.abc import Callable, Iterable

import torch
from torch import Tensor

from app.episode import MetaParams, Settings, Trace, Tree

RATE = "rate"
"""The one fixed rate; a leaf's own is `rate.<leaf>`."""


def inner_loop(
    loss_of: Callable[[Tree], Tensor], start: Tree, rates: Tree, settings: Settings, *, first_order: bool
) -> tuple[Tree, Trace]:
    """Take `settings.steps` gradient steps from `start`: theta <- theta - rate * grad (Finn et al. 2017, equation 1).

    `rates` has a tensor for each leaf of `start` that broadcasts to it. With `first_order` the gradient is taken
    at detached leaves and counts as a constant, so that no second-order graph is built; `loss_of` must then not
    close over tensors that require gradients.
    """
    params, losses = start, []
    for _ in range(settings.steps):
        point = {name: leaf.detach() for name, leaf in params.items()} if first_order else params
        gradient, loss = torch.func.grad_and_value(loss_of)(point)
        params = {name: torch.addcmul(leaf, rates[name], gradient[name], value=-1) for name, leaf in params.items()}
        losses.append(loss)
    if settings.traces_end or not losses:
        losses.append(loss_of(params))
    return params, Trace(torch.stack(losses))


def initial_rates(learning_rate: float, names: Iterable[str], *, learned: bool) -> tuple[Tree, Tree]:
    """Return the (trained, fixed) leaves that hold the inner rates of the leaves `names`."""
    rate = torch.tensor(learning_rate)
    if not learned:
        return {}, {RATE: rate}
    return {f"{RATE}.{name}": rate.clone() for name in names}, {}


def scaled_rates(meta: MetaParams, names: Iterable[str], rate_scale: Tensor) -> Tree:
    """Return the inner rate of each leaf, its own or the one for all, times the task's scale."""
    if RATE in meta.fixed:
        shared = rate_scale * meta.fixed[RATE]
        return dict.fromkeys(names, shared)
    return {name: rate_scale * meta.trained[f"{RATE}.{name}"] for name in names}
