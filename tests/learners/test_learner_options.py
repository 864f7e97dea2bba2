"""Every combination of options that a kind takes makes a learner that works; the others are refused at once."""

import itertools
from typing import Any, get_args

import pytest
import torch
from pydantic import ValidationError

from app.learners.learner import Learner
from app.learners.rates import Rates
from app.learners.registry import LEARNERS, build_learner
from app.networks.network import Network
from app.networks.registry import build_network
from app.trees import all_finite
from tests.learners.answers import answer, task_of
from tests.learners.toys import NUM_TRAIN_CLASSES, TOYS, Toy

NUMBERS, VECTORS, *_ = TOYS
COMBINATIONS = [
    {"kind": kind, "head": head, "rates": rates, "first_order": first_order}
    for kind, head, rates, first_order in itertools.product(
        LEARNERS, ("learned", "class_means", "shared"), get_args(Rates), (False, True)
    )
]


def name_of(value: object) -> str | None:
    return "-".join(map(str, value.values())) if isinstance(value, dict) else getattr(value, "name", None)


@pytest.mark.parametrize("options", COMBINATIONS, ids=name_of)
@pytest.mark.parametrize("toy", [NUMBERS, VECTORS], ids=name_of)
def test_combination_works_or_is_refused(toy: Toy, options: dict[str, Any]) -> None:
    try:
        learner = _learner(options, toy)
    except ValueError:
        return
    meta = learner.init(torch.Generator().manual_seed(0))
    episode = task_of(toy.sample(torch.Generator().manual_seed(0), 1, toy.num_outputs), 0)
    found = answer(learner, meta, episode, learner.traits.steps)
    assert all_finite({**found.task_params, "outputs": found.outputs, "meta_loss": found.meta_loss})


@pytest.mark.parametrize("kind", LEARNERS)
def test_kind_alone_is_enough(kind: str) -> None:
    assert _learner({"kind": kind}, VECTORS).traits.output_kind == "classification"


@pytest.mark.parametrize("kind", LEARNERS)
@pytest.mark.parametrize(
    "wrong",
    [
        {"unheard_of": 1},
        {"steps": -1},
        {"steps": 101},
        {"steps": 1.5},
        {"steps": "1"},
        {"learning_rate": 0.0},
        {"learning_rate": -0.1},
        {"learning_rate": float("nan")},
        {"learning_rate": float("inf")},
    ],
    ids=str,
)
def test_wrong_option_is_refused(kind: str, wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        _learner({"kind": kind, **wrong}, NUMBERS)


def test_unknown_kind_is_refused_with_the_known_ones() -> None:
    with pytest.raises(ValueError, match=r"learner kind 'mamml' is not one of \['anil', 'boil', 'fomaml', 'kernel'"):
        _learner({"kind": "mamml"}, NUMBERS)


def test_missing_kind_is_refused() -> None:
    with pytest.raises(ValueError, match="learner kind '' is not one of"):
        _learner({}, NUMBERS)


def test_unknown_loss_is_refused_with_the_known_ones() -> None:
    network = _network(NUMBERS)
    with pytest.raises(ValueError, match=r"loss 'hinge' is not one of \['binary_cross_entropy', 'cross_entropy'"):
        build_learner({"kind": "maml"}, network, "hinge", 0)


def test_class_means_need_classes() -> None:
    with pytest.raises(ValueError, match="'class_means' needs classes"):
        _learner({"kind": "maml", "head": "class_means"}, NUMBERS)


def test_head_that_stays_cannot_start_from_class_means() -> None:
    with pytest.raises(ValueError, match="leaves the head as the initialisation has it: use head 'learned'"):
        _learner({"kind": "boil", "head": "class_means"}, VECTORS)


def test_more_steps_than_rates_were_learned_for_are_refused() -> None:
    learner = _learner({"kind": "maml", "steps": 3, "rates": "per_step"}, NUMBERS)
    meta = learner.init(torch.Generator().manual_seed(0))
    episode = task_of(NUMBERS.sample(torch.Generator().manual_seed(0), 1, NUMBERS.num_outputs), 0)
    with pytest.raises(ValueError, match=r"4 steps were asked for; the rates were learned for 3: take fewer"):
        answer(learner, meta, episode, steps=4)


def _learner(options: dict[str, Any], toy: Toy) -> Learner:
    return build_learner(options, _network(toy), toy.loss, NUM_TRAIN_CLASSES)


def _network(toy: Toy) -> Network:
    return build_network(toy.network, toy.input_shape, toy.num_outputs)
