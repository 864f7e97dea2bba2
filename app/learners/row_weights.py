"""How much each support row counts in an inner loop: all alike, each class alike, or by a learned weight.

Learned weights are those of a Meta-Weight-Net (Shu et al. 2019, equations 5 and 6): a small network makes of a row's
own loss a weight in (0, 1), normalised over the task's rows; it is trained by the loss of the query, so that it finds
out by itself that rows of large losses are those with wrong labels. Differs:

- It reads log(1 + loss), so that losses of any size stay within what it can tell apart.
- Its hidden layer has 16 units of tanh, theirs 100 of ReLU: two derivatives are taken here.
- The weights are constants of the inner gradient, but the meta-gradient also goes through the losses that they are made
  of; theirs holds those constant.
- A head of class means has each row in its own mean, where a wrong label is hard to see. There a row is judged by means
  without it, the means are made again from weighted rows, and the rows are judged once more by those. The last means
  are drawn to the mean of the task by a learned strength, the less, the more the rows of a class weigh.
"""

import math
from typing import Literal

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn import functional

from app.episode import Support, Tree
from app.learners.head_start import LEAST_TOTAL, class_means_head, class_totals, nearest_head
from app.learners.losses import Loss, mask_classes, row_weights
from app.networks.initial import kaiming_uniform
from app.networks.network import head

RowWeights = Literal["equal", "balanced", "learned"]
HIDDEN = 16
LEAST_WEIGHT = LEAST_TOTAL
"""What is left of a row that is judged worst: a class all of whose rows look wrong still has a mean."""
ROUNDS = 2
"""Times that rows are judged by class means. On held-out intents, 30% of whose labels were wrong, means of equal rows
were right in 81.0% of queries, after one round in 83.2, after two and after three in 83.4."""
LOG_PRIOR = "weights.log_prior"
START_PRIOR = 0.5
"""Rows that stand for the mean of the task in each class's mean: a class that has lost rows knows less of where it is.
On the same intents this takes the 83.4% to 84.9; with equal rows it alone takes 81.0 to 82.7."""


def initial_weight_net(generator: torch.Generator, *, of_means: bool) -> Tree:
    """Return the leaves of a network that weighs all rows alike, until it is trained; `of_means` adds the prior's."""
    prior = {LOG_PRIOR: torch.tensor(math.log(START_PRIOR))} if of_means else {}
    return {
        **prior,
        "weights.0.weight": kaiming_uniform(generator, (HIDDEN, 1), gain=1.0),
        "weights.0.bias": kaiming_uniform(generator, (HIDDEN,), gain=1.0),
        "weights.1.weight": torch.zeros(1, HIDDEN),
        "weights.1.bias": torch.ones(1),
    }


def learned_weights(leaves: Tree, losses_S: Float[Tensor, "S"], row_mask_S: Bool[Tensor, "S"]) -> Float[Tensor, "S"]:
    """Return a weight from LEAST_WEIGHT to 1 for each row that counts, by its loss, and 0 elsewhere."""
    # Padding may hold any loss; a derivative of what is not finite would reach the leaves.
    seen_S1 = torch.where(row_mask_S, losses_S, 0.0).log1p()[:, None]
    hidden_SH = functional.linear(seen_S1, leaves["weights.0.weight"], leaves["weights.0.bias"]).tanh()
    share_S = functional.linear(hidden_SH, leaves["weights.1.weight"], leaves["weights.1.bias"]).sigmoid()[:, 0]
    return torch.where(row_mask_S, LEAST_WEIGHT + (1.0 - LEAST_WEIGHT) * share_S, 0.0)


def normalised(weights_S: Float[Tensor, "S"]) -> Float[Tensor, "S"]:
    """Return weights that sum to 1; zeros when no row counts."""
    return weights_S / weights_S.sum().clamp(min=LEAST_WEIGHT)


def balanced_weights(
    targets_S: Tensor, row_mask_S: Bool[Tensor, "S"], class_mask_N: Bool[Tensor, "N"], dtype: torch.dtype
) -> Float[Tensor, "S"]:
    """Return weights that sum to 1 and to the same for each class that has rows, equal within a class."""
    member_SN = functional.one_hot(targets_S, class_mask_N.shape[0]) * row_mask_S[:, None]
    others_S = (member_SN * member_SN.sum(dim=0)).sum(dim=1)
    return normalised((row_mask_S / others_S.clamp(min=1)).to(dtype))


def weighted_class_means(
    leaves: Tree, loss: Loss, features_SF: Float[Tensor, "S F"], support: Support, log_scale: Float[Tensor, ""]
) -> tuple[Tree, Float[Tensor, "S"]]:
    """Return the head of class means of rows by learned weights, and the weights, each judged by means without it."""
    _, targets_S, row_mask_S, class_mask_N = support
    weights_S = row_mask_S.to(features_SF.dtype)
    for _ in range(ROUNDS):
        logits_SN = left_out_logits(features_SF, targets_S, weights_S, class_mask_N, log_scale)
        losses_S = loss.rows(mask_classes(logits_SN, class_mask_N), targets_S)
        weights_S = learned_weights(leaves, losses_S, row_mask_S)
    means_NF = drawn_means(features_SF, targets_S, weights_S, class_mask_N, leaves[LOG_PRIOR].exp())
    return nearest_head(means_NF, log_scale), weights_S


def drawn_means(
    features_SF: Float[Tensor, "S F"],
    targets_S: Tensor,
    weights_S: Float[Tensor, "S"],
    class_mask_N: Bool[Tensor, "N"],
    prior: Float[Tensor, ""],
) -> Float[Tensor, "N F"]:
    """Return weighted class means, drawn to the mean of all rows as if `prior` rows of each class were there.

    A class of one row is not drawn: nothing speaks against that row, and one row a class gives the plain means.
    """
    total_NF, weight_N = class_totals(features_SF, targets_S, weights_S, class_mask_N)
    counts_S = weights_S > 0
    _, count_N = class_totals(features_SF, targets_S, counts_S, class_mask_N)
    mean_F = row_weights(counts_S).to(features_SF.dtype) @ features_SF
    prior_N1 = torch.where(count_N > 1, prior, 0.0)[:, None]
    return (total_NF + prior_N1 * mean_F) / (weight_N[:, None] + prior_N1).clamp(min=LEAST_WEIGHT)


def left_out_logits(
    features_SF: Float[Tensor, "S F"],
    targets_S: Tensor,
    weights_S: Float[Tensor, "S"],
    class_mask_N: Bool[Tensor, "N"],
    log_scale: Float[Tensor, ""],
) -> Float[Tensor, "S N"]:
    """Return the logits of support rows under a head of weighted class means, the own class's mean without the row.

    In closed form: what is left of a class is its total less the row. A row that is alone in its class stays in it.
    """
    means_head = class_means_head(features_SF, targets_S, weights_S, class_mask_N, log_scale)
    total_NF, weight_N = class_totals(features_SF, targets_S, weights_S, class_mask_N)
    is_own_SN = targets_S[:, None] == torch.arange(class_mask_N.shape[0], device=targets_S.device)
    num_own_S = (is_own_SN & (weights_S > 0)[:, None]).sum(dim=0)[targets_S]
    has_others_S = num_own_S > (weights_S > 0).to(num_own_S.dtype)
    left_S = torch.where(has_others_S, weight_N[targets_S] - weights_S, 1.0).clamp(min=LEAST_WEIGHT)
    mean_SF = (total_NF[targets_S] - weights_S[:, None] * features_SF) / left_S[:, None]
    own_S = log_scale.exp() * (2.0 * (features_SF * mean_SF).sum(dim=1) - mean_SF.square().sum(dim=1))
    return torch.where(is_own_SN & has_others_S[:, None], own_S[:, None], head(means_head, features_SF))
