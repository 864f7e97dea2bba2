"""Gradient steps on one task's loss."""

from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Tensor

from app.episode import Tree
from app.learners.losses import masked_mean


def inner_loop(
    losses_of: Callable[[Tree], Tensor],
    weigh: Callable[[Tensor], Tensor],
    row_mask_S: Tensor,
    start: Tree,
    rates: Sequence[Tree],
    *,
    traces_end: bool,
    first_order: bool,
) -> Iterator[tuple[Tree, Tensor | None]]:
    """Yield the leaves before each step and after the last: theta <- theta - rate * grad (Finn et al. 2017, eq. 1).

    One step is taken for each tree of `rates`, which has a tensor for each leaf of `start` that broadcasts to it. The
    gradient is that of the rows' losses [S], `losses_of` the leaves, times the weights [S] that `weigh` makes of them;
    the weights are constants of a step, and still carry the meta-gradient. Beside the leaves comes the plain mean of
    the losses of the rows that count; None at the end, unless `traces_end` is set or no step was taken. With
    `first_order` the gradient is taken at detached leaves and counts as a constant, so that no second-order graph is
    built; `losses_of` must then not close over tensors that require gradients.
    """
    params = start
    for rate in rates:
        point = {name: leaf.detach() for name, leaf in params.items()} if first_order else params
        losses_S, gradient = _gradient(losses_of, weigh, point, first_order=first_order)
        yield params, masked_mean(losses_S, row_mask_S)
        params = {name: torch.addcmul(leaf, rate[name], gradient[name], value=-1) for name, leaf in params.items()}
    yield params, masked_mean(losses_of(params), row_mask_S) if traces_end or not rates else None


def _gradient(
    losses_of: Callable[[Tree], Tensor], weigh: Callable[[Tensor], Tensor], point: Tree, *, first_order: bool
) -> tuple[Tensor, Tree]:
    """Return the losses [S] at a point, and the gradient of their weighted sum."""
    if not torch.is_grad_enabled() and torch._C._functorch.peek_interpreter_stack() is None:
        return _gradient_alone(losses_of, weigh, point)
    losses_S, pull = torch.func.vjp(losses_of, point)[:2]
    weights_S = weigh(losses_S)
    (gradient,) = pull(weights_S.detach() if first_order else weights_S)
    return losses_S, gradient


def _gradient_alone(
    losses_of: Callable[[Tree], Tensor], weigh: Callable[[Tensor], Tensor], point: Tree
) -> tuple[Tensor, Tree]:
    """Return the same, to rounding, where nothing is differentiated or mapped further: in two thirds of the time."""
    with torch.enable_grad():
        leaves = {name: leaf.detach().requires_grad_() for name, leaf in point.items()}
        losses_S = losses_of(leaves)
    weights_S = weigh(losses_S.detach())
    found = torch.autograd.grad(losses_S, [*leaves.values()], weights_S, materialize_grads=True)
    return losses_S.detach(), dict(zip(leaves, found, strict=True))
