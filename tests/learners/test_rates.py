"""The rates of the inner loop: their leaves, and which holds when."""

from typing import Any

import pytest
import torch

from app.episode import MetaParams, Settings
from app.learners.rates import initial_rates, rates_by_step
from app.learners.registry import build_learner
from app.networks.registry import build_network
from tests.learners.answers import close, equal_to_the_bit, task_of
from tests.learners.toys import DIMENSIONS, NUMBERS, TOYS

STEPS, RATE = 3, 0.1
MOVING = {"body.0.weight": torch.zeros(5, 2), "head.bias": torch.zeros(4)}
HALF = Settings(2, torch.tensor(0.5))


def test_one_fixed_rate_is_one_leaf_that_is_not_trained() -> None:
    assert initial_rates("fixed", RATE, STEPS, MOVING) == ({}, {"rate": torch.tensor(RATE)})


@pytest.mark.parametrize(
    ("rates", "shapes"),
    [
        ("per_tensor", [(), ()]),
        ("per_parameter", [(5, 2), (4,)]),
        ("per_step", [(STEPS,), (STEPS,)]),
    ],
)
def test_learned_rates_are_trained_leaves_that_start_equal(rates: Any, shapes: list[tuple[int, ...]]) -> None:
    trained, fixed = initial_rates(rates, RATE, STEPS, MOVING)
    expected = {f"rate.{name}": torch.full(shape, RATE) for name, shape in zip(MOVING, shapes, strict=True)}
    equal_to_the_bit(trained, expected)
    assert not fixed


@pytest.mark.parametrize("rates", ["fixed", "per_tensor", "per_parameter", "per_step"])
def test_scale_multiplies_each_step_of_each_leaf(rates: Any) -> None:
    meta = MetaParams(*initial_rates(rates, RATE, STEPS, MOVING))
    by_step = rates_by_step(rates, meta, MOVING, HALF)
    assert len(by_step) == HALF.steps
    for step in by_step:
        assert step.keys() == MOVING.keys()
        close([rate.expand_as(MOVING[name]) for name, rate in step.items()], [MOVING[n] + RATE / 2 for n in MOVING])


def test_fewer_steps_than_trained_take_the_first_rates() -> None:
    rates = torch.tensor([0.1, 0.2, 0.3])
    meta = MetaParams({f"rate.{name}": rates for name in MOVING}, {})
    by_step = rates_by_step("per_step", meta, MOVING, Settings(2, torch.tensor(1.0)))
    close([step["head.bias"] for step in by_step], [rates[0], rates[1]])


def test_rates_that_are_the_same_at_each_step_are_those_of_a_tensor() -> None:
    network = build_network(TOYS[0].network, (DIMENSIONS,), NUMBERS)
    support = task_of(TOYS[0].sample(torch.Generator().manual_seed(0), 1, 0), 0).support
    found = []
    for rates in ("fixed", "per_tensor", "per_parameter", "per_step"):
        options = {"kind": "maml", "steps": STEPS, "learning_rate": RATE, "rates": rates}
        learner = build_learner(options, network, "squared", 0)
        meta = learner.init(torch.Generator().manual_seed(0))
        found.append(learner.adapt(meta, support, HALF, {}))
    for other in found[1:]:
        close(other, found[0])
