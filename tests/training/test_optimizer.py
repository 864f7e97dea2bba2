import itertools
import math
from dataclasses import replace
from typing import Any

import pytest
import torch

from app.training.optimizer import apply_gradient, build_optimizer, outer_rate
from tests.training.small_runs import PLAN

COSINE = replace(PLAN, learning_rate_schedule="cosine", iterations=1000)


def leaves_with_gradient(size: float) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    leaves = [torch.zeros(3, 4), torch.zeros(5)]
    for leaf in leaves:
        leaf.grad = size * torch.randn(leaf.shape, generator=generator)
    return leaves


def norm(tensors: list[Any]) -> float:
    return math.sqrt(sum(float(tensor.double().square().sum()) for tensor in tensors))


def test_constant_rate_stays() -> None:
    assert {outer_rate(PLAN, iteration) for iteration in range(PLAN.iterations)} == {PLAN.meta_learning_rate}


def test_cosine_falls_from_the_rate_to_nearly_zero() -> None:
    rates = [outer_rate(COSINE, iteration) for iteration in range(COSINE.iterations)]
    assert rates[0] == COSINE.meta_learning_rate
    assert rates[500] == pytest.approx(COSINE.meta_learning_rate / 2)
    assert 0 < rates[-1] < 1e-5 * COSINE.meta_learning_rate
    assert all(later < earlier for earlier, later in itertools.pairwise(rates))


@pytest.mark.parametrize("size", [1e-3, 1.0, 1e3, 1e6])
def test_clipping_bounds_the_norm_over_all_leaves_and_keeps_the_direction(size: float) -> None:
    """Plain SGD from zero moves by 1.9 times the gradient in its first step: momentum 0.9, with Nesterov."""
    leaves, wanted = leaves_with_gradient(size), leaves_with_gradient(size)
    apply_gradient(build_optimizer(replace(PLAN, optimizer="sgd"), leaves), rate=1.0, clip_norm=2.0)
    assert norm(leaves) / 1.9 == pytest.approx(min(2.0, norm([leaf.grad for leaf in wanted])), rel=1e-4)
    factor = norm(leaves) / norm([leaf.grad for leaf in wanted])
    for leaf, other in zip(leaves, wanted, strict=True):
        assert other.grad is not None
        torch.testing.assert_close(leaf, -factor * other.grad, rtol=1e-4, atol=1e-6)


def test_no_clipping_keeps_the_gradient() -> None:
    leaves, wanted = leaves_with_gradient(1e6), leaves_with_gradient(1e6)
    apply_gradient(build_optimizer(replace(PLAN, optimizer="sgd"), leaves), rate=1.0, clip_norm=None)
    assert norm(leaves) == pytest.approx(1.9 * norm([leaf.grad for leaf in wanted]), rel=1e-5)


@pytest.mark.parametrize("optimizer", ["adam", "adamw"])
def test_first_step_of_adam_is_the_rate_of_that_iteration(optimizer: Any) -> None:
    leaves = leaves_with_gradient(1.0)
    apply_gradient(build_optimizer(replace(PLAN, optimizer=optimizer), leaves), rate=0.25, clip_norm=None)
    for leaf in leaves:
        assert leaf.grad is not None
        torch.testing.assert_close(leaf, -0.25 * leaf.grad.sign(), rtol=1e-3, atol=1e-4)
