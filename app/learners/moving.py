"""What an inner loop moves: all of a network, its head over features that stay, or its body under a head that stays."""

from collections.abc import Callable
from typing import Literal, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from app.episode import Support, Tree
from app.learners.head_start import LOG_SCALE, class_means_head, fitted_intercept
from app.learners.losses import Loss, mask_classes, row_weights
from app.networks.network import Network, head
from app.trees import merge

Moves = Literal["all", "head", "body"]
HEAD_LEAVES = HEAD_WEIGHT, HEAD_BIAS = ("head.weight", "head.bias")
HeadStart = Literal["learned", "class_means", "fitted_intercept"]
LEAST_GAIN = 0.01
"""Keeps normalised steps finite where all features are nearly equal."""


class Descent(NamedTuple):
    """Where a task's inner loop starts, and the loss that it goes down."""

    start: Tree
    """The leaves that move."""
    loss_of: Callable[[Tree], Tensor]
    """(leaves that move) -> the mean loss [] of the support rows that count."""
    completed: Callable[[Tree], Tree]
    """(leaves that move) -> the same with the leaves that follow from them."""
    step_length: Tensor | None = None
    """[], what normalised steps are multiplied by."""


def moving_leaves(moves: Moves, leaves: Tree) -> Tree:
    """Return those leaves of a network that the inner loop moves."""
    if moves == "all":
        return leaves
    return {name: leaf for name, leaf in leaves.items() if (name in HEAD_LEAVES) == (moves == "head")}


def descent(
    moves: Moves,
    network: Network,
    loss: Loss,
    leaves: Tree,
    support: Support,
    *,
    head_start: HeadStart,
    normalised: bool,
    first_order: bool,
) -> Descent:
    """Return the start and the loss of one task's inner loop from the initialisation `leaves`.

    With `class_means` the head starts from the means of the classes' features; with `fitted_intercept` its bias does
    not move but is solved for. With `first_order` the loss does not reach the leaves that stay.
    """
    weights_S = row_weights(support.row_mask)
    features_SF = network.features(leaves, support.inputs) if head_start == "class_means" or moves == "head" else None
    if head_start == "class_means" and features_SF is not None:
        leaves = merge(leaves, class_means_head(features_SF, *support[1:], leaves[LOG_SCALE]))
    body = {name: leaf for name, leaf in leaves.items() if name.startswith("body.")}
    heads = {name: leaves[name] for name in HEAD_LEAVES if name in leaves}
    start = moving_leaves(moves, merge(body, heads))
    staying = {name: leaf.detach() if first_order else leaf for name, leaf in heads.items()}
    seen_SF = features_SF.detach() if features_SF is not None and first_order else features_SF

    def intercept(weight: Tensor, features: Tensor) -> Tree:
        if head_start != "fitted_intercept":
            return {}
        return {HEAD_BIAS: fitted_intercept(features @ weight.T, support.targets, weights_S)}

    def loss_of(params: Tree) -> Tensor:
        features = network.features(params, support.inputs) if moves != "head" or seen_SF is None else seen_SF
        params = merge(staying, params)
        params = merge(params, intercept(params[HEAD_WEIGHT], features))
        losses_S = loss.rows(masked(head(params, features), support.class_mask), support.targets)
        return torch.dot(losses_S, weights_S.to(losses_S.dtype))

    def completed(params: Tree) -> Tree:
        if head_start != "fitted_intercept":
            return params
        # What is solved for is no step: its derivative is a first one, and counts with first-order steps too.
        features = network.features(params, support.inputs) if moves != "head" or features_SF is None else features_SF
        return merge(params, intercept(merge(heads, params)[HEAD_WEIGHT], features))

    length = None
    if normalised and seen_SF is not None:
        length = _step_length(seen_SF, weights_S, centred=head_start == "fitted_intercept")
    return Descent(start, loss_of, completed, length)


def _step_length(
    features_SF: Float[Tensor, "S F"], weights_S: Float[Tensor, "S"], *, centred: bool
) -> Float[Tensor, ""]:
    """Return one over the mean squared norm of the features, from their mean where the intercept is solved for.

    Normalised least mean squares (Nagumo and Noda 1967), over all rows at once: the curvature of the squared error in
    any direction is at most twice that norm, so that rates below 1 never diverge on features that stay.
    """
    weights_S = weights_S.to(features_SF.dtype)
    if centred:
        features_SF = features_SF - weights_S @ features_SF
    return 1.0 / (LEAST_GAIN + weights_S @ features_SF.square().sum(dim=1))


def masked(outputs_RO: Tensor, class_mask_N: Tensor) -> Tensor:
    """Return outputs with absent classes masked; as they are for regression, whose mask is [0]."""
    return mask_classes(outputs_RO, class_mask_N) if class_mask_N.shape[0] else outputs_RO
