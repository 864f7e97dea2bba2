"""The loss over pairs of rows against a plain double loop."""

import math

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from app.learners.pairs import SHARPNESS, pairs_loss, pairs_loss_of_parts
from tests.learners.answers import DOUBLE, close

FEATURES, WAYS = 4, 3
TARGETS = torch.tensor([0, 1, 1, 2, 2, 2, 0, 1])
ROWS = len(TARGETS)
SCALE = 0.3


def by_loops(features: Tensor, targets: Tensor, row_mask: Tensor, scale: float = SCALE) -> float:
    """Return the loss over pairs, pair by pair."""
    losses = []
    counted = [i for i in range(len(targets)) if row_mask[i]]

    def logit(i: int, j: int) -> float:
        return -scale * float((features[i] - features[j]).square().sum())

    for i in counted:
        for j in counted:
            if i == j or targets[i] != targets[j]:
                continue
            total = math.exp(logit(i, j))
            for n in sorted({int(targets[k]) for k in counted} - {int(targets[i])}):
                shots = [math.exp(logit(i, k)) for k in counted if targets[k] == n]
                total += sum(shots) / len(shots)
            losses.append(math.log(total) - logit(i, j))
    return sum(losses) / len(losses) if losses else 0.0


EVERY = torch.ones(ROWS, dtype=torch.bool)
MASKS = {
    "all rows": EVERY,
    "some masked": torch.tensor([True, False, True, True, True, False, True, True]),
    "a class with one row": torch.tensor([True, True, True, True, True, True, False, True]),
    "a class without rows": TARGETS != 1,
    "one class alone": TARGETS == 2,
    "every class with one row": torch.tensor([True, True, False, True, False, False, False, False]),
    "no rows": ~EVERY,
}


@pytest.mark.parametrize("which", MASKS)
def test_loss_of_pairs_is_that_of_a_double_loop(which: str) -> None:
    features = rows(ROWS, seed=1)
    found = pairs_loss(features, TARGETS, MASKS[which], WAYS, torch.tensor(SCALE, dtype=torch.float64))
    assert float(found) == pytest.approx(by_loops(features, TARGETS, MASKS[which]), abs=DOUBLE)


@pytest.mark.parametrize("which", ["every class with one row", "no rows", "one class alone"])
def test_loss_of_pairs_is_zero_where_nothing_is_to_be_told_apart(which: str) -> None:
    features = rows(ROWS, seed=1).requires_grad_()
    loss = pairs_loss(features, TARGETS, MASKS[which], WAYS, torch.tensor(SCALE, dtype=torch.float64))
    (gradient,) = torch.autograd.grad(loss, features)
    assert loss == 0
    assert not gradient.any()


@pytest.mark.parametrize("which", MASKS)
def test_masked_rows_have_no_gradient_and_the_others_that_of_differences(which: str) -> None:
    features, row_mask = rows(ROWS, seed=1).requires_grad_(), MASKS[which]

    def loss_of(features: Tensor) -> Tensor:
        return pairs_loss(features, TARGETS, row_mask, WAYS, torch.tensor(SCALE, dtype=torch.float64))

    assert torch.autograd.gradcheck(loss_of, (features,))
    (gradient,) = torch.autograd.grad(loss_of(features), features)
    assert not gradient[~row_mask].any()


def test_one_shot_episodes_of_two_rows_a_class_have_the_loss_of_their_pairs() -> None:
    """With two rows a class, and all rows of the other class the same, a pair is a one-shot episode."""
    features, targets = rows(4, seed=1), torch.tensor([0, 0, 1, 1])
    features[3] = features[2]
    scale = torch.tensor(SCALE, dtype=torch.float64)
    total = 0.0
    for query, shot in ((0, 1), (1, 0), (2, 3), (3, 2)):
        others = [0, 1] if query > 1 else [2]
        distances = torch.stack([(features[query] - features[k]).square().sum() for k in (shot, *others)])
        shares = torch.tensor([1.0, *[1 / len(others)] * len(others)], dtype=torch.float64)
        total += float(-(-SCALE * distances).add(shares.log()).log_softmax(dim=0)[0])
    assert float(pairs_loss(features, targets, torch.ones(4).bool(), 2, scale)) == pytest.approx(total / 4, abs=DOUBLE)


@pytest.mark.parametrize("parts", [(4,), (1, 3), (2, 1, 1)], ids=str)
def test_loss_of_parts_is_the_mean_of_theirs_by_cosines(parts: tuple[int, ...]) -> None:
    features, row_mask = rows(ROWS, seed=1), MASKS["some masked"]
    found = pairs_loss_of_parts(features, parts, TARGETS, row_mask, WAYS)
    expected, start = 0.0, 0
    for size in parts:
        part = functional.normalize(features[:, start : start + size], dim=1)
        expected += by_loops(part, TARGETS, row_mask, SHARPNESS / 2) / len(parts)
        start += size
    assert float(found) == pytest.approx(expected, abs=DOUBLE)


def test_length_of_a_part_gives_it_no_more_say() -> None:
    features, row_mask = rows(ROWS, seed=1), MASKS["all rows"]
    found, larger = (
        pairs_loss_of_parts(features * torch.tensor([1, 1, k, k]), (2, 2), TARGETS, row_mask, WAYS) for k in (1, 1000)
    )
    close(found, larger, DOUBLE)


def test_part_without_a_direction_has_a_finite_gradient() -> None:
    features = torch.cat([rows(ROWS, seed=1)[:, :2], torch.zeros(ROWS, 2).double()], dim=1).requires_grad_()
    loss = pairs_loss_of_parts(features, (2, 2), TARGETS, MASKS["all rows"], WAYS)
    (gradient,) = torch.autograd.grad(loss, features)
    assert loss.isfinite()
    assert gradient.isfinite().all()


def rows(num_rows: int, seed: int) -> Tensor:
    return torch.randn(num_rows, FEATURES, generator=torch.Generator().manual_seed(seed)).double()
