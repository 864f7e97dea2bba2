"""The references of familiarity: quantiles of support losses on validation tasks of many sizes."""

from typing import Any

import pytest
import torch

from app.card import Reference
from app.engine.familiarity import rank
from app.episode import Settings, Support
from app.jobs.plan import PlannedRun, planned_run
from app.jobs.references import NUM_QUANTILES, references
from app.jobs.report import evaluation_tasks
from app.learners.learner import NO_NOISE
from app.learners.model import Model
from app.task_distributions.registry import Datasets
from innerloop.wire import Limits, MetaTrainRequest
from tests.jobs.data_at_hand import drawings, patients

WAVES = {"kind": "sinusoid", "shots": 3, "queries": 5}
OMNIGLOT = {"kind": "labelled", "dataset": "omniglot", "ways": 3, "shots": [1, 2], "queries": 5}
PATIENTS = {"kind": "grouped", "dataset": "patients", "shots": [4, 6], "queries": 5, "order": "first"}
MLP = {"kind": "mlp", "hidden": [8]}


def planned(tasks: dict[str, Any], datasets: Datasets, **learner: Any) -> PlannedRun:
    request = {"name": "mine", "learner": learner, "network": MLP, "tasks": tasks}
    return planned_run(MetaTrainRequest.model_validate(request), datasets, Limits())


def found(tasks: dict[str, Any], datasets: Datasets, **learner: Any) -> tuple[Model, tuple[Reference, ...]]:
    run = planned(tasks, datasets, **learner)
    model = Model(run.card, run.learner, run.learner.init(torch.Generator().manual_seed(0)))
    request = MetaTrainRequest.model_validate({"name": "a", "learner": learner, "network": MLP, "tasks": tasks})
    return model, references(model, request.tasks.model_dump(exclude_none=True), datasets)


def sizes(made: tuple[Reference, ...]) -> list[tuple[int | None, int]]:
    return [(reference.ways, reference.rows) for reference in made]


def test_regression_is_looked_at_by_rows_alone() -> None:
    _, made = found(WAVES, {}, kind="maml", steps=2)
    assert sizes(made) == [(None, rows) for rows in (1, 2, 3, 5, 10, 20, 50)]
    assert all(len(losses) == NUM_QUANTILES for each in made for losses in each.loss_by_step.values())


def test_steps_are_those_of_the_card_and_the_default() -> None:
    assert {*found(WAVES, {}, kind="maml", steps=4)[1][0].loss_by_step} == {"0", "1", "2", "3", "4", "5", "10"}
    assert {*found(WAVES, {}, kind="meta_sgd", steps=2)[1][0].loss_by_step} == {"0", "1", "2"}
    assert {*found(WAVES, {}, kind="ridge")[1][0].loss_by_step} == {"0"}


def test_groups_are_looked_at_as_far_as_they_have_rows() -> None:
    _, made = found(PATIENTS, {"patients": patients()}, kind="maml")
    assert sizes(made) == [(None, rows) for rows in (1, 2, 4, 5, 6, 10)]  # of 20, some are queries


def test_classes_of_groups_are_always_all_there() -> None:
    _, made = found(PATIENTS, {"patients": patients(("well", "ill"))}, kind="maml")
    assert sizes(made) == [(2, rows) for rows in (1, 2, 4, 5, 6, 10)]


def test_tasks_of_any_ways_are_looked_at_as_far_as_the_split_has_classes() -> None:
    data = {"omniglot": drawings()}
    num_classes = evaluation_tasks(OMNIGLOT, 1, 5, "validation", data).num_classes
    _, made = found(OMNIGLOT, data, kind="prototypical")
    ways = [ways for ways in (2, 3, 5, 10, 20) if ways <= num_classes]
    assert sizes(made) == [(n, n * shots) for n in ways for shots in (1, 2, 5, 10)]
    assert len(ways) > 2


def test_head_with_a_row_a_class_is_looked_at_with_fewer_classes_too() -> None:
    model, made = found(OMNIGLOT, {"omniglot": drawings()}, kind="maml", steps=1)
    assert {reference.ways for reference in made} == {2, 3}
    assert model.card.output.shape == (3,)


def test_losses_of_fresh_validation_tasks_lie_evenly_among_the_references() -> None:
    model, made = found(WAVES, {}, kind="maml", steps=1)
    reference = next(each for each in made if each.rows == 10)
    tasks = evaluation_tasks(WAVES, 10, 1, "validation", {}).sample(torch.Generator().manual_seed(7), 200)
    settings = Settings(1, torch.tensor(1.0))

    def trace(support: Support) -> torch.Tensor:
        return model.learner.adapt(model.meta, support, settings, NO_NOISE)[1].support_loss

    losses_TS = torch.vmap(trace)(tasks.support)
    for step in (0, 1):
        shares = [rank(reference.loss_by_step[str(step)], loss) for loss in losses_TS[:, step].tolist()]
        assert sum(shares) / len(shares) == pytest.approx(0.5, abs=0.08)
        assert sum(share > 0.9 for share in shares) / len(shares) < 0.2


def test_references_are_the_same_each_time() -> None:
    assert found(WAVES, {}, kind="maml", steps=1)[1] == found(WAVES, {}, kind="maml", steps=1)[1]


def test_losses_that_are_not_finite_are_left_out_and_steps_that_mostly_diverge() -> None:
    # Steps of 10 on squared errors double each time: finite after some, infinite after more.
    _, made = found(WAVES, {}, kind="maml", steps=1, learning_rate=10.0)
    assert all("0" in each.loss_by_step for each in made)
    assert any("10" not in each.loss_by_step for each in made)
    Reference.model_validate_json(made[0].model_dump_json())
