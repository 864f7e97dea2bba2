"""Gradient steps on one task's loss."""

from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Tensor

from app.episode import Tree


def inner_loop(
    loss_of: Callable[[Tree], Tensor], start: Tree, rates: Sequence[Tree], *, traces_end: bool, first_order: bool
) -> Iterator[tuple[Tree, Tensor | None]]:
    """Yield the leaves before each step and after the last: theta <- theta - rate * grad (Finn et al. 2017, eq. 1).

    One step is taken for each tree of `rates`, which has a tensor for each leaf of `start` that broadcasts to it.
    Beside the leaves comes their loss; None at the end, unless `traces_end` is set or no step was taken. With
    `first_order` the gradient is taken at detached leaves and counts as a constant, so that no second-order graph is
    built; `loss_of` must then not close over tensors that require gradients.
    """
    params = start
    for rate in rates:
        point = {name: leaf.detach() for name, leaf in params.items()} if first_order else params
        gradient, loss = torch.func.grad_and_value(loss_of)(point)
        yield params, loss
        params = {name: torch.addcmul(leaf, rate[name], gradient[name], value=-1) for name, leaf in params.items()}
    yield params, loss_of(params) if traces_end or not rates else None
