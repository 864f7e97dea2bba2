"""Temperatures are part of the model: they change how sure answers are, and nothing else."""

import math

import pytest
import torch
from torch import Tensor

from app.episode import MetaParams, Settings, Support
from app.learners.calibration import (
    LEAST_LEAD,
    LOG_SHOTS,
    TEMPERATURE,
    TEMPERATURES,
    Sureness,
    at,
    log_lead,
    log_rows_a_class,
    tempered,
    with_temperature,
)
from app.learners.learner import NO_NOISE, Learner, query_metrics
from app.learners.registry import build_learner
from app.networks.registry import build_network
from tests.learners.answers import answer, close, equal_to_the_bit, mapped, task_of
from tests.learners.toys import DIMENSIONS, SHOTS, VECTOR_CLASSES, WAYS

EPISODE = task_of(VECTOR_CLASSES(torch.Generator().manual_seed(1), 1, WAYS), 0)
SETTINGS = Settings(1, torch.tensor(1.0))
TEMPERATURES_TRIED: list[Sureness] = [(-1.5, 0.0), (0.0, 0.0), (3.0, 0.0), (0.4, -0.5), (-1.5, 0.9), (0.5, 0.3)]


def plain(loss: str = "cross_entropy", num_outputs: int = WAYS) -> Learner:
    network = build_network({"kind": "mlp", "hidden": [8]}, (DIMENSIONS,), num_outputs)
    return build_learner({"kind": "maml", "steps": 2, "learning_rate": 0.1}, network, loss, 10)


META = with_temperature(plain()).init(torch.Generator().manual_seed(0))


def always(sureness: Sureness) -> MetaParams:
    """Return the initialisation with one temperature for all tasks."""
    return at(META, ((0.0, sureness), (1.0, sureness)))


def by_hand(logits_RN: Tensor, sureness: Sureness) -> Tensor:
    """Return each row's temperature [R, 1]."""
    a, b = sureness
    return torch.tensor([[math.exp(a) * (max(row) - sum(row) / len(row)) ** b] for row in logits_RN.tolist()])


def test_temperatures_are_fixed_leaves_beside_the_learners_that_start_at_1() -> None:
    bare = plain().init(torch.Generator().manual_seed(0))
    assert META.fixed.keys() - bare.fixed.keys() == {TEMPERATURES, LOG_SHOTS}
    equal_to_the_bit(META.trained, bare.trained)
    equal_to_the_bit(META.fixed[TEMPERATURES], torch.zeros(2, 2))


@pytest.mark.parametrize(
    ("rows", "expected"),
    [(1, (0.5, 0.2)), (2, (0.5, 0.2)), (4, (0.2, 0.4)), (8, (-0.1, 0.6)), (16, (-0.1, 0.6)), (40, (-0.1, 0.6))],
)
def test_temperature_of_a_task_lies_between_the_two_by_the_log_of_its_rows_a_class(
    rows: int, expected: Sureness
) -> None:
    learner = with_temperature(plain())
    meta = at(learner.init(torch.Generator().manual_seed(0)), ((math.log(2), (0.5, 0.2)), (math.log(8), (-0.1, 0.6))))
    support = Support(
        torch.zeros(rows * 2 + 3, DIMENSIONS),
        torch.arange(rows * 2 + 3) % 2,
        torch.arange(rows * 2 + 3) < rows * 2,
        torch.arange(WAYS) < 2,
    )
    close(log_rows_a_class(support), torch.tensor(math.log(rows)))
    close(learner.adapt(meta, support, SETTINGS, NO_NOISE)[0][TEMPERATURE], torch.tensor(expected))


def test_two_points_at_one_number_of_rows_are_one_temperature() -> None:
    same = at(META, ((math.log(2), (0.7, 0.1)), (math.log(2), (0.7, 0.1))))
    for num_rows in (2, 8):
        support = EPISODE.support._replace(row_mask=torch.arange(WAYS * SHOTS) < num_rows)
        params, _ = with_temperature(plain()).adapt(same, support, SETTINGS, NO_NOISE)
        close(params[TEMPERATURE], torch.tensor([0.7, 0.1]))


@pytest.mark.parametrize("sureness", TEMPERATURES_TRIED)
def test_logits_are_divided_and_adaptation_and_meta_loss_are_as_they_were(sureness: Sureness) -> None:
    expected, found = answer(plain(), META, EPISODE), answer(with_temperature(plain()), always(sureness), EPISODE)
    moved = {name: leaf for name, leaf in found.task_params.items() if name != TEMPERATURE}
    equal_to_the_bit(moved, expected.task_params)
    equal_to_the_bit(found.trace, expected.trace)
    equal_to_the_bit(found.meta_loss, expected.meta_loss)
    close(found.outputs, expected.outputs / by_hand(expected.outputs, sureness))


@pytest.mark.parametrize("sureness", TEMPERATURES_TRIED)
def test_told_losses_are_those_of_the_divided_logits_and_labels_stay(sureness: Sureness) -> None:
    learner, meta = with_temperature(plain()), always(sureness)
    outputs = answer(learner, meta, EPISODE).outputs
    equal_to_the_bit(learner.metrics(meta, outputs, EPISODE.query), query_metrics(plain().loss, outputs, EPISODE.query))
    equal_to_the_bit(outputs.argmax(dim=1), answer(plain(), META, EPISODE).outputs.argmax(dim=1))


@pytest.mark.parametrize("sureness", TEMPERATURES_TRIED)
def test_absent_classes_stay_at_probability_0_with_finite_gradients(sureness: Sureness) -> None:
    wide = with_temperature(plain(num_outputs=WAYS + 2))
    meta = at(wide.init(torch.Generator().manual_seed(0)), ((0.0, sureness), (1.0, sureness)))
    support = EPISODE.support._replace(class_mask=torch.arange(WAYS + 2) < WAYS)
    outputs = answer(wide, meta, EPISODE._replace(support=support)).outputs
    assert torch.isfinite(outputs).all()
    equal_to_the_bit(wide.loss.probabilities(outputs)[:, WAYS:], torch.zeros(len(outputs), 2))

    def loss_of(temperature: Tensor, inputs: Tensor) -> Tensor:
        params, _ = wide.adapt(meta, support, SETTINGS, NO_NOISE)
        params = {**params, TEMPERATURE: temperature}
        return wide.loss.rows(wide.predict(meta, params, inputs), EPISODE.query.targets).mean()

    for leaf in torch.func.grad(loss_of, argnums=(0, 1))(torch.tensor(sureness), EPISODE.query.inputs):
        assert torch.isfinite(leaf).all()


def test_many_tasks_at_once_and_padding_have_the_temperatures_of_each_alone() -> None:
    learner, meta = with_temperature(plain()), at(META, ((0.0, (0.5, -0.2)), (1.0, (-0.5, 0.3))))
    supports = mapped(lambda leaf: leaf.repeat(3, *[1] * leaf.dim()), EPISODE.support)
    counted = torch.arange(WAYS * SHOTS) < torch.tensor([WAYS * SHOTS, WAYS, WAYS + 2])[:, None]
    supports = supports._replace(row_mask=counted)

    def temperature(support: Support) -> Tensor:
        return learner.adapt(meta, support, SETTINGS, NO_NOISE)[0][TEMPERATURE]

    alone = [temperature(task_of(supports, i)) for i in range(3)]
    close(torch.vmap(temperature)(supports), torch.stack(alone))
    cut = mapped(lambda leaf: leaf[1, :WAYS], supports)._replace(class_mask=EPISODE.support.class_mask)
    close(temperature(cut), alone[1])
    assert alone[0][0] < alone[2][0] < alone[1][0]
    assert alone[0][1] > alone[2][1] > alone[1][1]


def test_absent_classes_do_not_change_what_the_others_are_divided_by() -> None:
    logits = 3.0 * torch.randn(50, 4, generator=torch.Generator().manual_seed(2))
    padded = torch.cat([logits, torch.full((50, 2), torch.finfo(torch.float32).min)], dim=1)
    temperature = torch.tensor([0.3, 0.6])
    close(tempered(padded, temperature)[:, :4], tempered(logits, temperature))
    equal_to_the_bit(tempered(padded, temperature)[:, 4:], padded[:, 4:])


@pytest.mark.parametrize("power", [-0.5, 0.0, 0.9])
def test_labels_never_change_and_more_lead_is_surer(power: float) -> None:
    logits = 5.0 * torch.randn(5000, 7, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    warm = tempered(logits, torch.tensor([0.7, power], dtype=torch.float64))
    equal_to_the_bit(warm.argsort(dim=1), logits.argsort(dim=1))
    by_lead = log_lead(logits).argsort()
    assert (log_lead(warm)[by_lead].diff() > 0.0).all()


@pytest.mark.parametrize("power", [-0.5, 0.9])
@pytest.mark.parametrize("level", [0.0, 7.0])
def test_equal_logits_stay_equal_with_finite_derivatives(power: float, level: float) -> None:
    logits = torch.full((1, 3), level)
    temperature = torch.tensor([0.0, power])
    close(tempered(logits, temperature).softmax(dim=1), torch.full((1, 3), 1 / 3))
    slopes = torch.func.jacrev(lambda rows: tempered(rows, temperature).softmax(dim=1))(logits)
    assert torch.isfinite(slopes).all()
    close(log_lead(logits), torch.tensor([math.log(LEAST_LEAD)]))


@pytest.mark.parametrize("sureness", TEMPERATURES_TRIED)
@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_what_is_not_finite_is_not_hidden(sureness: Sureness, bad: float) -> None:
    found = tempered(torch.tensor([[bad, 1.0], [1.0, bad], [2.0, 1.0]]), torch.tensor(sureness))
    assert found.isfinite().all(dim=1).tolist() == [False, False, True]


def test_numbers_have_no_temperature() -> None:
    with pytest.raises(ValueError, match="these outputs are numbers"):
        with_temperature(plain("squared"))
