import pytest
import torch
from torch import Tensor
from torch.nn import functional

from app.learners.losses import DEFAULT_LOSS, LOSSES, Loss, accuracy, mask_classes, masked_mean
from tests.learners.answers import DOUBLE, close

LOGITS = torch.tensor([[2.0, 1.0, 0.0], [0.0, 3.0, 1.0], [1.0, 1.5, 0.0]])
TARGETS = torch.tensor([0, 1, 2])
FIRST_TWO = torch.tensor([True, True, False])


def test_squared_error_is_the_mean_over_the_numbers_of_a_target() -> None:
    found = LOSSES["squared"].rows(torch.tensor([[1.0, 2.0], [0.0, 0.0]]), torch.tensor([[0.0, 0.0], [0.0, 4.0]]))
    close(found, torch.tensor([2.5, 8.0]))


def test_cross_entropy_is_minus_the_log_probability() -> None:
    expected = -LOGITS.softmax(dim=1)[range(3), TARGETS].log()
    close(LOSSES["cross_entropy"].rows(LOGITS, TARGETS), expected)


@pytest.mark.parametrize("size", [0.1, 1.0, 30.0])
def test_huber_is_that_of_torch_with_delta_one(size: float) -> None:
    generator = torch.Generator().manual_seed(0)
    outputs, targets = size * torch.randn(2, 20, 3, generator=generator)
    expected = functional.huber_loss(outputs, targets, delta=1.0, reduction="none").mean(dim=1)
    close(LOSSES["huber"].rows(outputs, targets), expected)


def test_binary_cross_entropy_is_the_sum_over_classes_of_that_of_torch() -> None:
    one_hot = functional.one_hot(TARGETS, 3).float()
    expected = functional.binary_cross_entropy_with_logits(LOGITS, one_hot, reduction="none").sum(dim=1)
    close(LOSSES["binary_cross_entropy"].rows(LOGITS, TARGETS), expected)


def test_absent_class_adds_nothing_to_binary_cross_entropy() -> None:
    masked = mask_classes(LOGITS, FIRST_TWO)[:2]
    rows = LOSSES["binary_cross_entropy"].rows
    assert torch.equal(rows(masked, TARGETS[:2]), rows(LOGITS[:2, :2], TARGETS[:2]))


def test_binary_probabilities_are_sigmoids_over_their_sum() -> None:
    sigmoids = LOGITS.sigmoid()
    close(LOSSES["binary_cross_entropy"].probabilities(LOGITS), sigmoids / sigmoids.sum(dim=1, keepdim=True))


@pytest.mark.parametrize("loss", LOSSES.values(), ids=lambda loss: loss.kind)
def test_second_derivative_under_vmap_is_that_of_the_loop(loss: Loss) -> None:
    generator = torch.Generator().manual_seed(0)
    outputs_T = torch.randn(4, 5, 3, generator=generator).double()
    targets_T = torch.randn(4, 5, 3, generator=generator).double()
    targets_T = targets_T.argmax(dim=2) if loss.output_kind == "classification" else targets_T

    def slope(outputs: Tensor, targets: Tensor) -> Tensor:
        gradient: Tensor = torch.func.grad(lambda z: loss.rows(z, targets).sum())(outputs)
        return gradient.square().sum()

    curvature = torch.func.grad(slope)
    alone = torch.stack([curvature(*each) for each in zip(outputs_T, targets_T, strict=True)])
    assert alone.any()
    close(torch.vmap(curvature)(outputs_T, targets_T), alone, DOUBLE)
    outer = outputs_T.clone().requires_grad_()
    (mixed,) = torch.autograd.grad(torch.vmap(slope)(outer, targets_T).sum(), outer)
    close(mixed, alone, DOUBLE)


def test_mean_counts_unmasked_rows_alone() -> None:
    close(masked_mean(torch.tensor([1.0, 3.0, 1e9]), FIRST_TWO), torch.tensor(2.0))


def test_mean_of_no_rows_is_zero() -> None:
    assert masked_mean(torch.tensor([1.0, 2.0]), torch.zeros(2, dtype=torch.bool)) == 0


def test_accuracy_counts_unmasked_rows_alone() -> None:
    close(accuracy(LOGITS, TARGETS, torch.ones(3, dtype=torch.bool)), torch.tensor(2 / 3))
    close(accuracy(LOGITS, TARGETS, FIRST_TWO), torch.tensor(1.0))


@pytest.mark.parametrize("largest", [1.0, 1e6, 1e12, 1e30])
@pytest.mark.parametrize("sign", [1.0, -1.0])
@pytest.mark.parametrize("kind", ["cross_entropy", "binary_cross_entropy"])
def test_absent_class_has_probability_zero_and_finite_gradient(kind: str, sign: float, largest: float) -> None:
    logits = (sign * largest * (LOGITS + 1)).requires_grad_()
    masked = mask_classes(logits, FIRST_TWO)
    loss = LOSSES[kind].rows(masked, TARGETS.clamp(max=1)).sum()
    (gradient,) = torch.autograd.grad(loss, logits)
    assert (LOSSES[kind].probabilities(masked)[:, 2] == 0).all()
    assert gradient.isfinite().all()
    assert not gradient[:, 2].any()


def test_each_kind_of_output_has_a_default_loss_of_its_kind() -> None:
    assert {kind: LOSSES[name].output_kind for kind, name in DEFAULT_LOSS.items()} == {
        kind: kind for kind in DEFAULT_LOSS
    }


def test_losses_are_listed_under_their_own_names() -> None:
    assert all(name == loss.kind for name, loss in LOSSES.items())
