"""What a finished run becomes: its temperature, its metrics by shots, steps and ways, its references."""

import math
from typing import Any

import pytest
import torch

from app.jobs.finished import completed_model
from app.jobs.model_files import model_of, read_model_files, write_model
from app.jobs.plan import planned_run
from app.jobs.report import by_step, evaluation_tasks
from app.learners.calibration import LOG_SHOTS, TEMPERATURE, TEMPERATURES
from app.learners.model import Model
from app.task_distributions.registry import Datasets
from innerloop.wire import Limits, MetaTrainRequest
from tests.jobs.data_at_hand import drawings

WAVES = {"kind": "sinusoid", "shots": 3, "queries": 5}
OMNIGLOT = {"kind": "labelled", "dataset": "omniglot", "ways": 3, "shots": [1, 2], "queries": 5}
DATA = {"omniglot": drawings()}
PROVENANCE = {"seed": 3}


def finished(tasks: dict[str, Any], datasets: Datasets, **learner: Any) -> tuple[Model, Model]:
    """Return a model before and after it was completed."""
    body = {"name": "mine", "learner": learner, "network": {"kind": "mlp", "hidden": [8]}, "tasks": tasks}
    request = MetaTrainRequest.model_validate(body)
    planned = planned_run(request, datasets, Limits())
    start = Model(planned.card, planned.learner, planned.learner.init(torch.Generator().manual_seed(0)))
    return start, completed_model(start, request.tasks.model_dump(exclude_none=True), datasets, PROVENANCE)


@pytest.fixture(scope="module")
def any_ways() -> tuple[Model, Model]:
    return finished(OMNIGLOT, DATA, kind="prototypical")


@pytest.fixture(scope="module")
def three_ways() -> tuple[Model, Model]:
    return finished(OMNIGLOT, DATA, kind="maml", steps=1, rates="per_tensor")


@pytest.fixture(scope="module")
def numbers() -> tuple[Model, Model]:
    return finished(WAVES, {}, kind="maml", steps=2, rates="per_tensor")


def test_classification_gets_temperatures_that_lower_the_loss_of_validation(
    any_ways: tuple[Model, Model], three_ways: tuple[Model, Model]
) -> None:
    for start, model in (any_ways, three_ways):
        assert model.card.calibrated
        assert start.meta.fixed[TEMPERATURES].tolist() == [[0.0, 0.0], [0.0, 0.0]]
        few, many = model.meta.fixed[TEMPERATURES].tolist()
        assert few != many
        assert model.meta.fixed[LOG_SHOTS].tolist() == pytest.approx([0.0, math.log(2)])
        step = model.card.default_steps or 0
        before, after = (
            sum(
                by_step(each.learner, each.meta, evaluation_tasks(OMNIGLOT, k, 5, "validation", DATA), 300, [step])[
                    step
                ]["loss"].mean
                for k in (1, 2)
            )
            for each in (start, model)
        )
        assert after < before


def test_trained_weights_and_regression_are_left_as_they_are(
    any_ways: tuple[Model, Model], numbers: tuple[Model, Model]
) -> None:
    for start, model in (any_ways, numbers):
        assert all(torch.equal(leaf, start.meta.trained[name]) for name, leaf in model.meta.trained.items())
    start, model = numbers
    assert not model.card.calibrated
    assert model.meta is start.meta


def test_steps_that_are_best_already_spare_the_second_look_and_the_outcome_is_the_same(
    three_ways: tuple[Model, Model],
) -> None:
    start, _ = three_ways
    adaptations: list[int] = []

    def adapt(*given: Any) -> Any:
        adaptations.append(given[2].steps)
        return start.learner.adapt(*given)

    def completed(default_steps: int) -> tuple[Model, int]:
        adaptations.clear()
        card = start.card.model_copy(update={"default_steps": default_steps})
        told = start._replace(card=card, learner=start.learner._replace(adapt=adapt))
        return completed_model(told, {**OMNIGLOT, "shots": 1, "queries": 2}, DATA, PROVENANCE), len(adaptations)

    (right, few), (wrong, many) = completed(1), completed(0)
    assert right.card == wrong.card
    assert right.card.default_steps == 1
    assert torch.equal(right.meta.fixed[TEMPERATURES], wrong.meta.fixed[TEMPERATURES])
    assert few < many


def test_metrics_are_those_of_the_model_with_its_temperature(any_ways: tuple[Model, Model]) -> None:
    _, model = any_ways
    for split, num_tasks in (("validation", 300), ("test", 600)):
        metrics = model.card.metrics[split]
        tasks = evaluation_tasks(OMNIGLOT, 2, 5, split, DATA)  # type: ignore[arg-type]  # one of the splits
        table = by_step(model.learner, model.meta, tasks, num_tasks, [0])[0]
        assert (metrics["tasks"], metrics["queries"]) == (num_tasks, 5)
        assert metrics["by_shots_and_step"].keys() == {"1", "2"}
        assert metrics["by_shots_and_step"]["2"]["0"] == {
            name: {"mean": round(value.mean, 6), "interval": round(value.interval, 6)} for name, value in table.items()
        }
        assert metrics["by_shots_and_step"]["2"]["0"].keys() == {"loss", "accuracy", "calibration_error"}


def test_model_of_any_ways_is_judged_at_more_of_them(
    any_ways: tuple[Model, Model], three_ways: tuple[Model, Model]
) -> None:
    test = any_ways[1].card.metrics["test"]
    num_classes = evaluation_tasks(OMNIGLOT, 1, 5, "test", DATA).num_classes
    assert test["by_ways"].keys() == {str(ways) for ways in (5, 20) if ways <= num_classes}
    five, three = test["by_ways"]["5"]["by_shots_and_step"], test["by_shots_and_step"]
    assert five.keys() == three.keys()
    assert all(five[k]["0"]["accuracy"]["mean"] < three[k]["0"]["accuracy"]["mean"] for k in five)
    assert "by_ways" not in three_ways[1].card.metrics["test"]


def test_regression_has_a_loss_alone_and_the_best_steps_of_validation(numbers: tuple[Model, Model]) -> None:
    card = numbers[1].card
    table = card.metrics["validation"]["by_shots_and_step"]["3"]
    assert {name for metrics in table.values() for name in metrics} == {"loss"}
    assert card.default_steps == min((1, 2), key=lambda step: table[str(step)]["loss"]["mean"])
    assert card.provenance == PROVENANCE


def test_all_of_it_survives_a_save_and_a_load(any_ways: tuple[Model, Model], tmp_path: Any) -> None:
    _, model = any_ways
    again = model_of(read_model_files(write_model(tmp_path, model.card, model.meta)))
    assert again.card == model.card
    assert len(again.card.familiarity) >= 4
    assert torch.equal(again.meta.fixed[TEMPERATURES], model.meta.fixed[TEMPERATURES])
    inputs = torch.rand(4, *model.card.input.shape)
    params = {"head.weight": torch.randn(3, 8), "head.bias": torch.zeros(3)}
    params[TEMPERATURE] = torch.tensor([0.3, 0.2])
    params["class_mask"] = torch.ones(3, dtype=torch.bool)
    assert torch.equal(
        again.learner.predict(again.meta, params, inputs), model.learner.predict(model.meta, params, inputs)
    )
