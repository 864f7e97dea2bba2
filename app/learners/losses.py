"""Losses a row, their mean over the rows that count, and what else is worth knowing of outputs."""

from collections.abc import Callable, Mapping
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn import functional

from app.episode import OutputKind


class Loss(NamedTuple):
    """A loss and the targets it is for."""

    kind: str
    output_kind: OutputKind
    rows: Callable[[Tensor, Tensor], Tensor]
    """(outputs_RO, targets_R) -> [R]."""


def squared_rows(outputs_RD: Float[Tensor, "R D"], targets_RD: Float[Tensor, "R D"]) -> Float[Tensor, "R"]:
    """Return the mean over D of the squared errors."""
    # Written out: square() and mean() cost a second-order meta-step 15% more in their derivatives.
    errors_RD = outputs_RD - targets_RD
    return (errors_RD * errors_RD).sum(dim=1) / errors_RD.shape[1]


def cross_entropy_rows(logits_RN: Float[Tensor, "R N"], targets_R: Tensor) -> Float[Tensor, "R"]:
    """Return minus the log probability of each row's class."""
    return functional.cross_entropy(logits_RN, targets_R, reduction="none")


LOSSES: Mapping[str, Loss] = {
    "squared": Loss("squared", "regression", squared_rows),
    "cross_entropy": Loss("cross_entropy", "classification", cross_entropy_rows),
}
DEFAULT_LOSS: Mapping[OutputKind, str] = {"regression": "squared", "classification": "cross_entropy"}


def masked_mean(values_R: Float[Tensor, "R"], row_mask_R: Bool[Tensor, "R"]) -> Float[Tensor, ""]:
    """Return the mean over the rows that count; 0 when none does."""
    return torch.dot(values_R, row_weights(row_mask_R).to(values_R.dtype))


def row_weights(row_mask_R: Bool[Tensor, "R"]) -> Float[Tensor, "R"]:
    """Return equal weights that sum to 1 over the rows that count, and 0 elsewhere."""
    return row_mask_R / row_mask_R.sum().clamp(min=1)


def mask_classes(logits_RN: Float[Tensor, "R N"], class_mask_N: Bool[Tensor, "N"]) -> Float[Tensor, "R N"]:
    """Return the logits with the least number for absent classes: probability 0, and unlike -inf it has gradients."""
    return torch.where(class_mask_N, logits_RN, torch.finfo(logits_RN.dtype).min)


def accuracy(logits_RN: Float[Tensor, "R N"], targets_R: Tensor, row_mask_R: Tensor) -> Float[Tensor, ""]:
    """Return the share of the rows that count whose largest logit is their class's."""
    return masked_mean((logits_RN.argmax(dim=1) == targets_R).float(), row_mask_R)
