"""A loss over pairs of rows: what meta-training may ask of features, whatever head will stand over them."""

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn import functional

SHARPNESS = 10.0
"""Of cosines, where each part of the features is asked for itself: between 5 and 20 it made no difference on held-out
intents."""


def pairs_loss(
    features_RF: Float[Tensor, "R F"],
    targets_R: Tensor,
    row_mask_R: Bool[Tensor, "R"],
    num_classes: int,
    scale: Float[Tensor, ""],
) -> Float[Tensor, ""]:
    """Return the mean loss, over ordered pairs of a class, of one row as a query and the other as its class's shot.

    Each other class stands by the mean, over its rows, of what they would give as its shot, so that this is about the
    mean over all one-shot episodes that the rows can form. That every pair of a batch should count, Laenen and
    Bertinetto 2021, section 3, show for neighbourhood components (Goldberger et al. 2005), whose loss has all rows in
    one sum where this has pairs. 0 where no class has two rows.
    """
    logits_RR = -scale * _squared_distances(features_RF)
    of_class_RN = functional.one_hot(targets_R, num_classes) * row_mask_R[:, None]
    log_count_R = of_class_RN.sum(dim=0).clamp(min=1)[targets_R].to(features_RF.dtype).log()
    same_RR = targets_R[:, None] == targets_R
    others_RR = ~same_RR & row_mask_R
    least = torch.finfo(features_RF.dtype).min
    others_R1 = torch.where(others_RR, logits_RR - log_count_R, least).logsumexp(dim=1, keepdim=True)
    pairs_RR = (
        same_RR
        & row_mask_R
        & row_mask_R[:, None]
        & ~torch.eye(len(targets_R), dtype=torch.bool, device=targets_R.device)
    )
    losses_RR = functional.softplus(others_R1 - torch.where(pairs_RR, logits_RR, 0.0))
    return torch.where(pairs_RR, losses_RR, 0.0).sum() / pairs_RR.sum().clamp(min=1)


def _squared_distances(features_RF: Float[Tensor, "R F"]) -> Float[Tensor, "R R"]:
    """Return them written out: the library's own distances have no second derivative."""
    squares_R = features_RF.square().sum(dim=1)
    return squares_R[:, None] + squares_R - 2.0 * features_RF @ features_RF.T


def pairs_loss_of_parts(
    features_RF: Float[Tensor, "R F"],
    parts: tuple[int, ...],
    targets_R: Tensor,
    row_mask_R: Bool[Tensor, "R"],
    num_classes: int,
) -> Float[Tensor, ""]:
    """Return the mean of `pairs_loss` over parts of the features, each by its own cosines.

    A part with a small share of the squares would learn next to nothing from a loss of the whole: on held-out intents
    a branch trained so added nothing, one asked for itself a quarter of a point.
    """
    scale = torch.tensor(SHARPNESS / 2.0, dtype=features_RF.dtype, device=features_RF.device)
    losses = [
        pairs_loss(functional.normalize(part_RF, dim=1, eps=1e-6), targets_R, row_mask_R, num_classes, scale)
        for part_RF in torch.split(features_RF, list(parts), dim=1)
    ]
    return torch.stack(losses).mean()
