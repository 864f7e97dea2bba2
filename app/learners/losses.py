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
    probabilities: Callable[[Tensor], Tensor]
    """(outputs_RO) -> what a caller is given: probabilities of classes [R, N], numbers [R, D] as they are."""


def squared_rows(outputs_RD: Float[Tensor, "R D"], targets_RD: Float[Tensor, "R D"]) -> Float[Tensor, "R"]:
    """Return the mean over D of the squared errors."""
    # Written out: square() and mean() cost a second-order meta-step 15% more in their derivatives.
    errors_RD = outputs_RD - targets_RD
    return (errors_RD * errors_RD).sum(dim=1) / errors_RD.shape[1]


def cross_entropy_rows(logits_RN: Float[Tensor, "R N"], targets_R: Tensor) -> Float[Tensor, "R"]:
    """Return minus the log probability of each row's class."""
    return functional.cross_entropy(logits_RN, targets_R, reduction="none")


def as_they_are(outputs_RD: Float[Tensor, "R D"]) -> Float[Tensor, "R D"]:
    """Return the outputs."""
    return outputs_RD


def softmax(logits_RN: Float[Tensor, "R N"]) -> Float[Tensor, "R N"]:
    """Return the probabilities whose logarithms the logits are, up to a number a row."""
    return logits_RN.softmax(dim=1)


def huber_rows(outputs_RD: Float[Tensor, "R D"], targets_RD: Float[Tensor, "R D"]) -> Float[Tensor, "R"]:
    """Return the mean over D of the Huber losses (1964) with delta 1, in the units that the learner is given.

    Half the squared error up to an error of 1, then linear. On scaled targets 1 is one standard deviation.
    """
    sizes_RD = (outputs_RD - targets_RD).abs()
    small_RD = sizes_RD.clamp(max=1.0)
    return (small_RD * (sizes_RD - 0.5 * small_RD)).sum(dim=1) / sizes_RD.shape[1]


def binary_cross_entropy_rows(logits_RN: Float[Tensor, "R N"], targets_R: Tensor) -> Float[Tensor, "R"]:
    """Return the sum over classes of the binary cross entropies, each class against the rest.

    A masked class, whose logit is the least number, adds minus the logarithm of 1.
    """
    # one_hot looks at its numbers, which vmap over grad refuses.
    is_class_RN = targets_R[:, None] == torch.arange(logits_RN.shape[1], device=targets_R.device)
    return -functional.logsigmoid(torch.where(is_class_RN, logits_RN, -logits_RN)).sum(dim=1)


def normalised_sigmoids(logits_RN: Float[Tensor, "R N"]) -> Float[Tensor, "R N"]:
    """Return each class's probability against the rest, divided by their sum."""
    return functional.logsigmoid(logits_RN).softmax(dim=1)


LOSSES: Mapping[str, Loss] = {
    "squared": Loss("squared", "regression", squared_rows, as_they_are),
    "cross_entropy": Loss("cross_entropy", "classification", cross_entropy_rows, softmax),
    "huber": Loss("huber", "regression", huber_rows, as_they_are),
    "binary_cross_entropy": Loss(
        "binary_cross_entropy", "classification", binary_cross_entropy_rows, normalised_sigmoids
    ),
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
