"""What an inner loop moves: all of a network, its head over features that stay, or its body under a head that stays."""

from collections.abc import Callable
from typing import Literal, NamedTuple

from jaxtyping import Float
from torch import Tensor

from app.episode import Support, Tree
from app.learners.head_start import LOG_SCALE, SHARED, class_means_head, fitted_intercept, shared_head
from app.learners.losses import Loss, mask_classes, row_weights
from app.learners.row_weights import (
    RowWeights,
    balanced_weights,
    learned_weights,
    normalised,
    weighted_class_means,
)
from app.networks.network import Network, head
from app.networks.support_norm import NORM
from app.trees import merge

Moves = Literal["all", "head", "body"]
HEAD_LEAVES = HEAD_WEIGHT, HEAD_BIAS = ("head.weight", "head.bias")
HeadStart = Literal["learned", "class_means", "shared", "fitted_intercept"]
ANY_WAYS_HEADS: tuple[HeadStart, ...] = ("class_means", "shared")
"""Those that the initialisation has no row a class of."""
LEAST_GAIN = 0.01
"""Keeps normalised steps finite where all features are nearly equal."""


class Descent(NamedTuple):
    """Where a task's inner loop starts, and the loss that it goes down."""

    start: Tree
    """The leaves that move."""
    losses_of: Callable[[Tree], Tensor]
    """(leaves that move) -> the losses [S] of the support rows."""
    weigh: Callable[[Tensor], Tensor]
    """(losses [S]) -> what each row counts in a step [S]; they sum to 1, and are 0 for padding."""
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
    rows: RowWeights,
    per_gain: bool,
    first_order: bool,
) -> Descent:
    """Return the start and the loss of one task's inner loop from the initialisation `leaves`.

    With `class_means` the head starts from the means of the classes' features, with `shared` from one vector; with
    `fitted_intercept` its bias does not move but is solved for. `rows` says what rows count in a step, and `per_gain`
    whether steps are divided by what features gain. With `first_order` the loss does not reach the leaves that stay.
    """
    weights_S = row_weights(support.row_mask)
    features_SF = network.features(leaves, support.inputs) if head_start == "class_means" or moves == "head" else None
    of_means_S = None
    if head_start == "class_means" and features_SF is not None:
        means_head, of_means_S = _class_means(rows, loss, leaves, features_SF, support)
        leaves = merge(leaves, means_head)
    if head_start == "shared":
        leaves = merge(leaves, shared_head(leaves[SHARED], support.class_mask.shape[0]))
    body = {name: leaf for name, leaf in leaves.items() if name.startswith("body.")}
    heads = {name: leaves[name] for name in HEAD_LEAVES if name in leaves}
    start = moving_leaves(moves, merge(body, heads))
    others = merge(heads, {name: leaf for name, leaf in leaves.items() if name.startswith(NORM)})
    staying = {name: leaf.detach() if first_order else leaf for name, leaf in others.items()}
    seen_SF = features_SF.detach() if features_SF is not None and first_order else features_SF

    def intercept(weight: Tensor, features: Tensor) -> Tree:
        if head_start != "fitted_intercept":
            return {}
        return {HEAD_BIAS: fitted_intercept(features @ weight.T, support.targets, weights_S)}

    def losses_of(params: Tree) -> Tensor:
        params = merge(staying, params)
        features = network.features(params, support.inputs) if moves != "head" or seen_SF is None else seen_SF
        params = merge(params, intercept(params[HEAD_WEIGHT], features))
        return loss.rows(masked(head(params, features), support.class_mask), support.targets)

    def completed(params: Tree) -> Tree:
        if head_start != "fitted_intercept":
            return params
        # What is solved for is no step: its derivative is a first one, and counts with first-order steps too.
        whole = merge(others, params)
        features = network.features(whole, support.inputs) if moves != "head" or features_SF is None else features_SF
        return merge(params, intercept(whole[HEAD_WEIGHT], features))

    length = None
    if per_gain and seen_SF is not None:
        length = _step_length(seen_SF, weights_S, centred=head_start == "fitted_intercept")
    return Descent(start, losses_of, _weighing(rows, leaves, support, of_means_S), completed, length)


def _class_means(
    rows: RowWeights, loss: Loss, leaves: Tree, features_SF: Float[Tensor, "S F"], support: Support
) -> tuple[Tree, Tensor | None]:
    """Return the head of a task's class means, and the weights of rows [S] that they found where those are learned."""
    if rows == "learned":
        return weighted_class_means(leaves, loss, features_SF, support, leaves[LOG_SCALE])
    return class_means_head(features_SF, *support[1:], leaves[LOG_SCALE]), None


def _weighing(
    rows: RowWeights, leaves: Tree, support: Support, of_means_S: Tensor | None
) -> Callable[[Tensor], Tensor]:
    """Return the weights of a step: by the rows' losses at that place, where class means have not told them before.

    A head of class means goes through its own rows already, so that later losses say less of what is wrong.
    """
    _, targets_S, row_mask_S, class_mask_N = support

    def weigh(losses_S: Tensor) -> Tensor:
        if rows == "balanced":
            return balanced_weights(targets_S, row_mask_S, class_mask_N, losses_S.dtype)
        if rows == "equal":
            return row_weights(row_mask_S).to(losses_S.dtype)
        return normalised(learned_weights(leaves, losses_S, row_mask_S) if of_means_S is None else of_means_S)

    return weigh


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
