"""The temperature that fits and the calibration error, against figures that are known."""

import math

import pytest
import torch
from torch import Tensor

from app.episode import MetaParams, Query
from app.learners.calibration import TEMPERATURES, Sureness, at, log_lead, tempered, with_temperature
from app.learners.learner import Learner
from app.learners.losses import LOSSES
from app.learners.registry import build_learner
from app.networks.registry import build_network
from app.training.calibrate import (
    LOG_BOUNDS,
    NUM_BINS,
    POWER_BOUNDS,
    Judgeable,
    best_temperature,
    binning,
    calibration_error,
    confidence_bins,
    cross_entropy,
    fitted_temperature,
    least,
)
from app.training.evaluate import task_metrics
from tests.learners.answers import close, mapped
from tests.learners.toys import VECTOR_CLASSES, WAYS

SOFTMAX = LOSSES["cross_entropy"]


def drawn(sureness: Sureness, num_rows: int = 20_000, seed: int = 0) -> Judgeable:
    """Return rows whose classes are drawn from the softmax of their logits divided by their temperatures."""
    generator = torch.Generator().manual_seed(seed)
    logits = 4.0 * torch.randn(num_rows, 5, generator=generator, dtype=torch.float64)
    of_class = tempered(logits, pair(sureness)).softmax(dim=1)
    return Judgeable(logits, torch.multinomial(of_class, 1, generator=generator)[:, 0])


def pair(sureness: Sureness) -> Tensor:
    return torch.tensor(sureness, dtype=torch.float64)


def loss_at(rows: Judgeable, sureness: Sureness) -> float:
    return float(cross_entropy(SOFTMAX, rows, pair(sureness)))


@pytest.mark.parametrize("log", [-0.7, 0.0, 1.1])
def test_least_cross_entropy_is_at_the_temperature_that_classes_were_drawn_at(log: float) -> None:
    rows = drawn((log, 0.0))
    found = least(lambda at: loss_at(rows, (at, 0.0)), *LOG_BOUNDS)
    assert found == pytest.approx(log, abs=0.05)
    value = [loss_at(rows, (found + step, 0.0)) for step in (-0.01, 0.0, 0.01)]
    assert min(value) == value[1]


@pytest.mark.parametrize("sureness", [(0.0, 0.0), (-0.7, 0.6), (1.1, -0.3), (0.3, 0.8)])
def test_fit_finds_the_two_numbers_that_classes_were_drawn_with(sureness: Sureness) -> None:
    rows = drawn(sureness)
    found = best_temperature(SOFTMAX, rows)
    assert found == pytest.approx(sureness, abs=0.1)
    at_best = loss_at(rows, found)
    for aside in ((-0.02, 0.0), (0.02, 0.0), (0.0, -0.02), (0.0, 0.02)):
        assert at_best < loss_at(rows, (found[0] + aside[0], found[1] + aside[1]))
    assert best_temperature(SOFTMAX, rows) == found


@pytest.mark.parametrize("sureness", [(-0.7, 0.6), (1.1, -0.3)])
def test_two_numbers_mend_what_one_leaves(sureness: Sureness) -> None:
    rows, fresh = drawn(sureness), drawn(sureness, num_rows=100_000, seed=1)
    alone = (least(lambda log: loss_at(rows, (log, 0.0)), *LOG_BOUNDS), 0.0)
    before, after = error_at(fresh, alone), error_at(fresh, best_temperature(SOFTMAX, rows))
    assert before > 0.018
    assert after < 0.5 * before


def error_at(rows: Judgeable, sureness: Sureness) -> float:
    every = Query(rows.logits, rows.targets, torch.ones_like(rows.targets, dtype=torch.bool))
    return calibration_error(confidence_bins(tempered(rows.logits, pair(sureness)).softmax(dim=1), every)[None]).mean


@pytest.mark.parametrize("power", [-2.0, 1.5])
def test_power_stays_in_its_bounds_whatever_the_classes_say(power: float) -> None:
    a, b = best_temperature(SOFTMAX, drawn((1.0, power)))
    assert POWER_BOUNDS[0] <= b <= POWER_BOUNDS[1]
    assert math.isfinite(a)
    assert b == pytest.approx(POWER_BOUNDS[0] if power < 0.0 else POWER_BOUNDS[1], abs=0.02)


@pytest.mark.parametrize("kind", ["cross_entropy", "binary_cross_entropy"])
def test_classes_that_are_always_right_leave_the_temperature_in_its_bounds(kind: str) -> None:
    logits = drawn((0.0, 0.0), 500).logits
    sure = Judgeable(logits, logits.argmax(dim=1))
    temperature = pair(best_temperature(LOSSES[kind], sure))
    at_middle = float(temperature[0] + temperature[1] * log_lead(logits).mean())
    assert LOG_BOUNDS[0] <= at_middle <= LOG_BOUNDS[1]
    assert torch.isfinite(tempered(logits, temperature)).all()


def test_rows_of_one_lead_have_no_power() -> None:
    logits = torch.tensor([[2.0, 0.0], [0.0, 2.0]], dtype=torch.float64).repeat(10, 1)
    a, b = best_temperature(SOFTMAX, Judgeable(logits, torch.arange(20) % 3 % 2))
    assert b == 0.0
    assert math.isfinite(a)


@pytest.mark.parametrize("where", [-3.0, -1.234, 0.0, 2.5, 3.0])
def test_search_finds_the_one_minimum(where: float) -> None:
    assert least(lambda point: abs(point - where), -3.0, 3.0) == pytest.approx(where, abs=1e-5)


def probabilities(confidence: list[float]) -> Tensor:
    first = torch.tensor(confidence)[:, None]
    return torch.cat([first, (1.0 - first) / 2.0, (1.0 - first) / 2.0], dim=1)


def query(targets: list[int], mask: list[bool] | None = None) -> Query:
    rows = torch.tensor(mask or [True] * len(targets))
    return Query(torch.zeros(len(targets), 1), torch.tensor(targets), rows)


def test_bins_hold_rows_confidence_and_hits_up_to_their_upper_edge() -> None:
    found = confidence_bins(probabilities([0.6, 10 / 15, 0.99, 1.0]), query([0, 0, 1, 0]))
    expected = torch.zeros(NUM_BINS, 3)
    expected[8] = torch.tensor([1, 0.6, 1])  # 8 / 15 < 0.6 <= 9 / 15
    expected[9] = torch.tensor([1, 10 / 15, 1])
    expected[14] = torch.tensor([2, 1.99, 1])
    close(found, expected)


def test_padded_rows_are_in_no_bin() -> None:
    alone = confidence_bins(probabilities([0.6, 0.9]), query([0, 1]))
    padded = torch.cat([probabilities([0.6, 0.9]), torch.full((1, 3), torch.nan)])
    close(confidence_bins(padded, query([0, 1, 0], [True, True, False])), alone)


ERRORS = {
    "sure and right": ([1.0, 1.0], [0, 0], 0.0),
    "sure and wrong": ([1.0, 1.0], [1, 2], 1.0),
    "as sure as right": ([0.75] * 4, [0, 0, 0, 1], 0.0),
    "too sure": ([0.9] * 4, [0, 0, 1, 1], 0.4),
    "one bin too sure, one not enough": ([0.9, 0.9, 0.6, 0.6], [0, 1, 0, 0], 0.5 * 0.4 + 0.5 * 0.4),
}


@pytest.mark.parametrize("what", ERRORS)
def test_calibration_error_is_that_of_equation_3(what: str) -> None:
    confidence, targets, expected = ERRORS[what]
    bins = confidence_bins(probabilities(confidence), query(targets))
    assert calibration_error(bins[None]).mean == pytest.approx(expected, abs=1e-6)


def test_rows_of_all_tasks_are_pooled() -> None:
    """Each task alone looks miscalibrated: a row is right or wrong, never 75 in 100."""
    tasks = [confidence_bins(probabilities([0.75]), query([target])) for target in (0, 0, 0, 1)]
    pooled = calibration_error(torch.stack(tasks))
    assert pooled.mean == pytest.approx(0.0, abs=1e-6)
    assert 0.0 < pooled.interval < 0.5
    assert math.isnan(calibration_error(tasks[0][None]).interval)


def test_interval_holds_the_error_of_many_tasks_in_most_draws_of_few() -> None:
    generator = torch.Generator().manual_seed(0)
    right = (torch.rand(200, 100, 10, generator=generator) < 0.6).double()  # confidence 0.9: an error of 0.3
    bins = torch.zeros(200, 100, NUM_BINS, 3, dtype=torch.float64)
    bins[:, :, 13] = torch.stack([torch.full_like(right, 1.0), torch.full_like(right, 0.9), right], dim=-1).sum(dim=2)
    inside = [abs(found.mean - 0.3) <= found.interval for found in map(calibration_error, bins)]
    assert 0.9 < sum(inside) / len(inside) < 0.99


def learner() -> Learner:
    network = build_network({"kind": "mlp", "hidden": [8]}, (3,), WAYS)
    return with_temperature(build_learner({"kind": "prototypical"}, network, "cross_entropy", 10))


META = learner().init(torch.Generator().manual_seed(0))
TASKS = VECTOR_CLASSES(torch.Generator().manual_seed(1), 60, WAYS)


def test_fitted_temperature_lowers_the_loss_of_fresh_tasks_and_keeps_their_accuracy() -> None:
    steep = META._replace(trained={**META.trained, "head.log_scale": META.trained["head.log_scale"] + 4.0})
    found = fitted_temperature(learner(), steep, [TASKS], 0)
    warm = at(steep, ((0.0, found), (1.0, found)))
    fresh = VECTOR_CLASSES(torch.Generator().manual_seed(2), 60, WAYS)
    before, after = (task_metrics(binning(learner()), meta, fresh, 0) for meta in (steep, warm))
    assert torch.equal(before["accuracy"], after["accuracy"])
    assert after["loss"].mean() < 0.5 * before["loss"].mean()
    assert calibration_error(after["bins"]).mean < 0.5 * calibration_error(before["bins"]).mean


def test_fit_does_not_depend_on_the_temperature_that_is_there_nor_on_the_batches() -> None:
    found = fitted_temperature(learner(), META, [TASKS], 0)
    halves = [mapped(lambda leaf: leaf[:25], TASKS), mapped(lambda leaf: leaf[25:], TASKS)]
    assert fitted_temperature(learner(), at(META, ((0.0, (2.0, 0.5)), (1.0, (1.0, 0.1)))), [TASKS], 0) == found
    assert fitted_temperature(learner(), META, halves, 0) == pytest.approx(found, abs=1e-4)


def test_tasks_that_are_not_finite_are_left_out_of_the_fit() -> None:
    poisoned = mapped(torch.clone, TASKS)
    poisoned.support.inputs[:10] = torch.nan
    rest = mapped(lambda leaf: leaf[10:], TASKS)
    found = fitted_temperature(learner(), META, [poisoned], 0)
    assert found == pytest.approx(fitted_temperature(learner(), META, [rest], 0), abs=1e-4)
    none_left = MetaParams({name: leaf * torch.nan for name, leaf in META.trained.items()}, META.fixed)
    assert fitted_temperature(learner(), none_left, [TASKS], 0) == (0.0, 0.0)


def test_absent_classes_change_nothing_of_the_fit() -> None:
    more = torch.arange(WAYS + 3).expand(len(TASKS.query.targets), -1) < WAYS
    padded = TASKS._replace(support=TASKS.support._replace(class_mask=more))
    alone = fitted_temperature(learner(), META, [TASKS], 0)
    assert fitted_temperature(learner(), META, [padded], 0) == pytest.approx(alone, abs=1e-3)


def test_numbers_have_no_bins() -> None:
    network = build_network({"kind": "mlp", "hidden": [8]}, (1,), 1)
    of_numbers = build_learner({"kind": "maml"}, network, "squared", 0)
    assert binning(of_numbers) is of_numbers
    assert TEMPERATURES not in of_numbers.init(torch.Generator().manual_seed(0)).fixed
