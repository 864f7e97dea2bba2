import pytest
import torch

from app.learners.losses import DEFAULT_LOSS, LOSSES, accuracy, mask_classes, masked_mean
from tests.learners.answers import close

LOGITS = torch.tensor([[2.0, 1.0, 0.0], [0.0, 3.0, 1.0], [1.0, 1.5, 0.0]])
TARGETS = torch.tensor([0, 1, 2])
FIRST_TWO = torch.tensor([True, True, False])


def test_squared_error_is_the_mean_over_the_numbers_of_a_target() -> None:
    found = LOSSES["squared"].rows(torch.tensor([[1.0, 2.0], [0.0, 0.0]]), torch.tensor([[0.0, 0.0], [0.0, 4.0]]))
    close(found, torch.tensor([2.5, 8.0]))


def test_cross_entropy_is_minus_the_log_probability() -> None:
    expected = -LOGITS.softmax(dim=1)[range(3), TARGETS].log()
    close(LOSSES["cross_entropy"].rows(LOGITS, TARGETS), expected)


def test_mean_counts_unmasked_rows_alone() -> None:
    close(masked_mean(torch.tensor([1.0, 3.0, 1e9]), FIRST_TWO), torch.tensor(2.0))


def test_mean_of_no_rows_is_zero() -> None:
    assert masked_mean(torch.tensor([1.0, 2.0]), torch.zeros(2, dtype=torch.bool)) == 0


def test_accuracy_counts_unmasked_rows_alone() -> None:
    close(accuracy(LOGITS, TARGETS, torch.ones(3, dtype=torch.bool)), torch.tensor(2 / 3))
    close(accuracy(LOGITS, TARGETS, FIRST_TWO), torch.tensor(1.0))


@pytest.mark.parametrize("largest", [1.0, 1e6, 1e12, 1e30])
@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_absent_class_has_probability_zero_and_finite_gradient(sign: float, largest: float) -> None:
    logits = (sign * largest * (LOGITS + 1)).requires_grad_()
    masked = mask_classes(logits, FIRST_TWO)
    loss = LOSSES["cross_entropy"].rows(masked, TARGETS.clamp(max=1)).sum()
    (gradient,) = torch.autograd.grad(loss, logits)
    assert (masked.softmax(dim=1)[:, 2] == 0).all()
    assert gradient.isfinite().all()
    assert not gradient[:, 2].any()


def test_each_kind_of_output_has_a_default_loss_of_its_kind() -> None:
    assert {kind: LOSSES[name].output_kind for kind, name in DEFAULT_LOSS.items()} == {
        kind: kind for kind in DEFAULT_LOSS
    }


def test_losses_are_listed_under_their_own_names() -> None:
    assert all(name == loss.kind for name, loss in LOSSES.items())
