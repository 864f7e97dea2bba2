"""Whether a candidate is better than the active version, on the same tasks."""

import math

import pytest
import torch

from app.card import Card
from app.episode import Episode, MetaParams, Settings, Support, TaskParams, Trace, Tree
from app.jobs.plan import planned_run
from app.jobs.promotion import PROMOTION_SEED, Comparison, compare, same_schema
from app.learners.model import Model
from app.task_distributions.distribution import Distribution
from app.training.evaluate import task_metrics
from app.training.meta_step import meta_gradient
from innerloop.wire import Limits, MetaTrainRequest

CPU = torch.device("cpu")
REQUEST = {
    "name": "waves",
    "learner": {"kind": "maml", "steps": 2, "learning_rate": 0.01},
    "network": {"kind": "mlp", "hidden": [16]},
    "tasks": {"kind": "sinusoid", "shots": 5, "queries": 5},
}
PLANNED = planned_run(MetaTrainRequest.model_validate(REQUEST), {}, Limits())
FRESH = PLANNED.learner.init(torch.Generator().manual_seed(0))
FEW = 120


def trained(num_iterations: int = 60) -> MetaParams:
    """Return an initialisation that some plain gradient steps made better."""
    meta, generator = FRESH, torch.Generator().manual_seed(1)
    for _ in range(num_iterations):
        episodes = PLANNED.training.sample(generator, 16)
        gradient, _ = meta_gradient(PLANNED.learner, meta, episodes, 2, torch.tensor(0.0))
        meta = MetaParams({name: leaf - 0.02 * gradient[name] for name, leaf in meta.trained.items()}, meta.fixed)
    return meta


BETTER = trained()


def model(meta: MetaParams, steps: int = 2) -> Model:
    return Model(PLANNED.card.model_copy(update={"default_steps": steps}), PLANNED.learner, meta)


def compared(candidate: Model, active: Model, num_tasks: int = FEW) -> Comparison:
    return compare(candidate, active, PLANNED.validation, CPU, num_tasks)


def broken(meta: MetaParams) -> MetaParams:
    return MetaParams({name: leaf * math.nan for name, leaf in meta.trained.items()}, meta.fixed)


def test_trained_weights_are_better_than_fresh_ones_and_not_the_other_way_round() -> None:
    assert compared(model(BETTER), model(FRESH)).better
    assert not compared(model(FRESH), model(BETTER)).better


def test_a_version_is_not_better_than_itself() -> None:
    same = compared(model(BETTER), model(BETTER))
    assert (same.difference, same.interval, same.better) == (0.0, 0.0, False)


def test_the_other_way_round_is_the_same_difference_with_the_other_sign() -> None:
    one, other = compared(model(BETTER), model(FRESH)), compared(model(FRESH), model(BETTER))
    assert one.difference == pytest.approx(-other.difference)
    assert one.interval == pytest.approx(other.interval)


def test_the_same_two_versions_compare_alike_every_time() -> None:
    assert compared(model(BETTER), model(FRESH)) == compared(model(BETTER), model(FRESH))


def test_the_difference_is_the_mean_over_tasks_of_the_losses_difference() -> None:
    episodes = PLANNED.validation.sample(torch.Generator().manual_seed(PROMOTION_SEED), 50)
    better, fresh = (task_metrics(PLANNED.learner, meta, episodes, 2)["loss"] for meta in (BETTER, FRESH))
    found = compared(model(BETTER), model(FRESH), 50)
    assert found.score == "minus_loss"
    assert found.difference == pytest.approx(float((fresh - better).double().mean()), rel=1e-6)
    spread = float((fresh - better).double().std())
    assert found.interval == pytest.approx(1.96 * spread / math.sqrt(50), rel=1e-6)


def test_each_version_takes_its_own_steps() -> None:
    assert compared(model(BETTER, steps=0), model(BETTER, steps=2)).difference != 0.0


@pytest.mark.parametrize("num_tasks", [2, 50, 51, 120])
def test_as_many_tasks_are_compared_on_as_asked_for(num_tasks: int) -> None:
    drawn = []

    def sample(generator: torch.Generator, num: int) -> Episode:
        drawn.append(num)
        return PLANNED.validation.sample(generator, num)

    counting: Distribution = PLANNED.validation._replace(sample=sample)
    assert compare(model(BETTER), model(FRESH), counting, CPU, num_tasks).num_tasks == num_tasks == sum(drawn)


def test_a_version_that_is_not_finite_loses_against_any_that_is() -> None:
    assert compared(model(FRESH), model(broken(FRESH))).better
    lost = compared(model(broken(FRESH)), model(FRESH))
    assert not lost.better
    assert math.isfinite(lost.difference)


def test_two_versions_that_are_not_finite_are_equal() -> None:
    found = compared(model(broken(FRESH)), model(broken(BETTER)))
    assert (found.difference, found.better) == (0.0, False)


def test_one_task_alone_shows_nothing() -> None:
    assert not compared(model(BETTER), model(FRESH), 1).better


@pytest.mark.parametrize(
    ("difference", "interval", "better"),
    [(0.2, 0.1, True), (0.1, 0.2, False), (0.1, 0.1, False), (-1.0, 0.1, False), (0.1, math.nan, False)],
)
def test_better_means_that_the_whole_interval_lies_above_0(difference: float, interval: float, better: bool) -> None:
    assert Comparison("accuracy", difference, interval, 600).better is better


OTHER_SCHEMAS = {
    "other input shape": {"input": {"kind": "vector", "shape": (2,), "polarity": None}},
    "pictures": {"input": {"kind": "image", "shape": (1, 28, 28), "polarity": "ink_is_1"}},
    "other output shape": {"output": {"kind": "regression", "shape": (2,)}},
    "other output kind": {"output": {"kind": "classification", "shape": (1,)}},
}


@pytest.mark.parametrize("change", OTHER_SCHEMAS.values(), ids=OTHER_SCHEMAS.keys())
def test_another_input_or_output_is_another_schema(change: dict[str, object]) -> None:
    other = Card.model_validate({**PLANNED.card.model_dump(), **change})
    assert not same_schema(PLANNED.card, other)
    assert not same_schema(other, PLANNED.card)


def test_learner_network_and_numbers_do_not_matter_to_callers() -> None:
    changes = {"learner": {"kind": "anil"}, "network": {"kind": "mlp", "hidden": [4]}, "default_steps": 9, "name": "b"}
    assert same_schema(PLANNED.card, PLANNED.card.model_copy(update=changes))


def test_versions_of_different_losses_are_judged_by_the_candidates() -> None:
    """By its own loss, an untrained Huber model had the smaller numbers than a trained one of squared errors."""
    request = MetaTrainRequest.model_validate({**REQUEST, "loss": "huber"})
    huber = planned_run(request, {}, Limits())

    def fresh(steps: int) -> Model:
        return Model(huber.card.model_copy(update={"default_steps": steps}), huber.learner, FRESH)

    lost = compare(fresh(2), model(BETTER), huber.validation, CPU, FEW)
    assert lost.difference + lost.interval < 0
    same = compare(fresh(0), model(FRESH, steps=0), huber.validation, CPU, FEW)
    assert (same.difference, same.better) == (0.0, False)


def test_versions_are_on_the_device_of_the_tasks() -> None:
    """A finished run's weights are on the CPU; `meta` stands for a GPU here, as far as adapting."""
    seen: list[tuple[str, str]] = []

    def adapt(meta: MetaParams, support: Support, settings: Settings, noise: Tree) -> tuple[TaskParams, Trace]:
        seen.append((support.inputs.device.type, meta.trained["head.bias"].device.type))
        raise InterruptedError

    spy = Model(model(FRESH).card, PLANNED.learner._replace(adapt=adapt), FRESH)
    with pytest.raises(InterruptedError):
        compare(spy, spy, PLANNED.validation, torch.device("meta"), 2)
    assert seen == [("meta", "meta")]
