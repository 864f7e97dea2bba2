import math

import pytest
import torch

from app.episode import Episode
from app.jobs.plan import planned_run
from app.jobs.report import (
    EVALUATION_SEED,
    as_json,
    best_steps,
    by_step,
    evaluation_tasks,
    fresh_batches,
    steps_to_show,
)
from app.training.evaluate import Estimate, evaluate
from app.training.portions import ROWS_AT_ONCE
from innerloop.wire import Limits, MetaTrainRequest
from tests.jobs.data_at_hand import drawings

PLANNED = planned_run(
    MetaTrainRequest.model_validate(
        {
            "name": "mine",
            "learner": {"kind": "maml"},
            "network": {"kind": "mlp", "hidden": [4]},
            "tasks": {"kind": "sinusoid"},
        }
    ),
    {},
    Limits(),
)
META = PLANNED.learner.init(torch.Generator().manual_seed(0))


def losses(*means: float) -> dict[int, dict[str, Estimate]]:
    return {step: {"loss": Estimate(mean, 0.1)} for step, mean in enumerate(means)}


def accuracies(*means: float) -> dict[int, dict[str, Estimate]]:
    return {step: {"loss": Estimate(1.0, 0.1), "accuracy": Estimate(mean, 0.1)} for step, mean in enumerate(means)}


def test_each_number_of_steps_is_judged_on_the_same_tasks() -> None:
    alone = by_step(PLANNED.learner, META, PLANNED.validation, 60, [2])
    among_others = by_step(PLANNED.learner, META, PLANNED.validation, 60, [0, 1, 2])
    assert list(among_others) == [0, 1, 2]
    assert among_others[2] == alone[2]


@pytest.mark.parametrize("num_tasks", [1, 50, 51, 120])
def test_as_many_tasks_are_judged_as_asked_for(num_tasks: int) -> None:
    drawn = []

    def sample(generator: torch.Generator, num: int) -> Episode:
        drawn.append(num)
        return PLANNED.validation.sample(generator, num)

    counting = PLANNED.validation._replace(sample=sample)
    by_step(PLANNED.learner, META, counting, num_tasks, [0])
    assert sum(drawn) == num_tasks


def test_no_task_of_a_judgement_is_one_of_training() -> None:
    table = by_step(PLANNED.learner, META, PLANNED.validation, 50, [1])
    generator = torch.Generator().manual_seed(PLANNED.plan.seed)
    assert table[1] != evaluate(PLANNED.learner, META, [PLANNED.training.sample(generator, 50)], 1)


def test_judgement_takes_its_own_shots_and_queries_and_the_ways_of_the_model() -> None:
    tasks = {
        "kind": "labelled",
        "dataset": "omniglot",
        "ways": 3,
        "shots": [1, 5],
        "queries": 5,
        "rotations": True,
        "training_ways": 9,
        "training_queries": 2,
    }
    found = evaluation_tasks(tasks, 4, 7, "test", {"omniglot": drawings()})
    support, query, _ = found.sample(torch.Generator(), 2)
    assert support.inputs.shape[:2] == (2, 3 * 4)
    assert query.inputs.shape[:2] == (2, 3 * 7)


def test_other_ways_are_those_asked_for() -> None:
    tasks = {"kind": "labelled", "dataset": "omniglot", "ways": 3, "shots": 1, "queries": 5, "training_ways": 9}
    found = evaluation_tasks(tasks, 1, 5, "test", {"omniglot": drawings()}, ways=2)
    assert found.sample(torch.Generator(), 4).support.class_mask.shape == (4, 2)


def test_large_tasks_are_judged_one_by_one_as_together() -> None:
    tasks = evaluation_tasks({"kind": "sinusoid"}, ROWS_AT_ONCE // 2, ROWS_AT_ONCE // 2, "test", {})
    together = evaluate(PLANNED.learner, META, fresh_batches(tasks, 3, EVALUATION_SEED), 1)
    assert by_step(PLANNED.learner, META, tasks, 3, [1])[1]["loss"] == pytest.approx(together["loss"], rel=1e-5)


@pytest.mark.parametrize(
    ("tables", "best"),
    [
        ([losses(1.0, 3.0, 2.0)], 2),
        ([losses(9.0, 1.0, 2.0)], 1),
        ([losses(9.0, 1.0, 2.0), losses(9.0, 5.0, 1.0)], 2),
        ([accuracies(0.1, 0.5, 0.9)], 2),
        ([accuracies(0.9, 0.8, 0.7)], 1),
        ([losses(1.0)], 0),
    ],
)
def test_best_number_of_steps_has_the_best_sum_of_scores_and_is_one_at_least(
    tables: list[dict[int, dict[str, Estimate]]], best: int
) -> None:
    assert best_steps(tables) == best


def test_steps_that_diverge_are_not_the_best() -> None:
    assert best_steps([losses(9.0, math.nan, 2.0, math.inf, math.nan)]) == 2


@pytest.mark.parametrize("max_steps", [None, 1, 4, 100])
def test_steps_shown_are_some_that_the_model_takes(max_steps: int | None) -> None:
    shown = steps_to_show(PLANNED.card.model_copy(update={"max_steps": max_steps}))
    assert shown[0] == 0
    assert shown == sorted(set(shown))
    assert shown[-1] <= (max_steps or 0)
    assert (1 in shown) == bool(max_steps)


def test_table_on_a_card_is_rounded_numbers_by_step() -> None:
    assert as_json({0: {"loss": Estimate(1 / 3, 0.1)}, 5: {"loss": Estimate(2.0, 1e-9)}}) == {
        "0": {"loss": {"mean": 0.333333, "interval": 0.1}},
        "5": {"loss": {"mean": 2.0, "interval": 0.0}},
    }
