"""What an inner loop moves: all of a network, its head over features that stay, or its body under a head that stays."""

from collections.abc import Callable
from typing import Literal, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from app.episode import Support, Tree
from app.learners.head_start import LOG_SCALE, class_means_head
from app.learners.losses import Loss, mask_classes, row_weights
from app.networks.network import Network, head
from app.trees import merge

Moves = Literal["all", "head", "body"]
HEAD_LEAVES = ("head.weight", "head.bias")


class Descent(NamedTuple):
    """Where a task's inner loop starts, and the loss that it goes down."""

    start: Tree
    """The leaves that move."""
    loss_of: Callable[[Tree], Tensor]
    """(leaves that move) -> the mean loss [] of the support rows that count."""


def moving_leaves(moves: Moves, leaves: Tree) -> Tree:
    """Return those leaves of a network that the inner loop moves."""
    if moves == "all":
        return leaves
    return {name: leaf for name, leaf in leaves.items() if (name in HEAD_LEAVES) == (moves == "head")}


def descent(
    moves: Moves, network: Network, loss: Loss, leaves: Tree, support: Support, *, class_means: bool, first_order: bool
) -> Descent:
    """Return the start and the loss of one task's inner loop from the initialisation `leaves`.

    With `class_means` the head starts from the means of the classes' features. With `first_order` the loss does not
    reach the leaves that stay.
    """
    mean_loss = _support_loss(loss, support)
    features_SF = network.features(leaves, support.inputs) if class_means or moves == "head" else None
    if class_means and features_SF is not None:
        leaves = merge(leaves, class_means_head(features_SF, *support[1:], leaves[LOG_SCALE]))
    body = {name: leaf for name, leaf in leaves.items() if name.startswith("body.")}
    start = moving_leaves(moves, merge(body, {name: leaves[name] for name in HEAD_LEAVES}))
    if moves == "head" and features_SF is not None:
        seen_SF = features_SF.detach() if first_order else features_SF
        return Descent(start, lambda params: mean_loss(params, seen_SF))
    staying = {name: leaves[name].detach() if first_order else leaves[name] for name in HEAD_LEAVES}

    def loss_of(params: Tree) -> Tensor:
        return mean_loss(merge(staying, params), network.features(params, support.inputs))

    return Descent(start, loss_of)


def masked(outputs_RO: Tensor, class_mask_N: Tensor) -> Tensor:
    """Return outputs with absent classes masked; as they are for regression, whose mask is [0]."""
    return mask_classes(outputs_RO, class_mask_N) if class_mask_N.shape[0] else outputs_RO


def _support_loss(loss: Loss, support: Support) -> Callable[[Tree, Tensor], Tensor]:
    weights_S = row_weights(support.row_mask)

    def mean_loss(params: Tree, features_SF: Float[Tensor, "S F"]) -> Float[Tensor, ""]:
        losses_S = loss.rows(masked(head(params, features_SF), support.class_mask), support.targets)
        return torch.dot(losses_S, weights_S.to(losses_S.dtype))

    return mean_loss
