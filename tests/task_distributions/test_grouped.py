from typing import Any

import pytest
import torch
from pydantic import ValidationError

from app.episode import Episode
from app.task_distributions.dataset import Dataset
from app.task_distributions.distribution import Distribution
from app.task_distributions.grouped import GroupedOptions, grouped
from tests.task_distributions.data_sets import COUNTS, groups

TASKS, SHOTS, QUERIES = 60, 4, 6


def distribution(data: Dataset, **changes: Any) -> Distribution:
    options = {"dataset": "any", "shots": SHOTS, "queries": QUERIES, **changes}
    return grouped(GroupedOptions.model_validate(options), data, "train")


def episodes(data: Dataset, tasks: int = TASKS, seed: int = 0, **changes: Any) -> Episode:
    return distribution(data, **changes).sample(torch.Generator().manual_seed(seed), tasks)


@pytest.mark.parametrize("order", ["random", "first"])
def test_all_rows_of_a_task_are_of_one_group_and_none_comes_twice(order: str) -> None:
    support, query, class_ids = episodes(groups(), order=order)
    assert support.inputs.shape == (TASKS, SHOTS, 3)
    assert query.inputs.shape == (TASKS, QUERIES, 3)
    assert class_ids.shape == support.class_mask.shape == (TASKS, 0)
    assert support.row_mask.all()
    assert query.row_mask.all()
    rows = torch.cat([support.inputs, query.inputs], dim=1)
    assert (rows[:, :, 0] == rows[:, :1, 0]).all()
    assert all(len(set(task.tolist())) == SHOTS + QUERIES for task in rows[..., 2])


@pytest.mark.parametrize("order", ["random", "first"])
def test_targets_stay_with_their_inputs(order: str) -> None:
    support, query, _ = episodes(groups(), order=order)
    for rows in (support, query):
        torch.testing.assert_close(rows.targets[..., 0], 100.0 * rows.inputs[..., 0] + rows.inputs[..., 1])


def test_support_is_the_groups_first_rows_and_queries_are_all_later_ones() -> None:
    support, query, _ = episodes(groups(), tasks=2000, order="first")
    assert (support.inputs[..., 1] == torch.arange(SHOTS)).all()
    for group, count in enumerate(COUNTS):
        places = query.inputs[query.inputs[:, 0, 0] == group][..., 1]
        assert set(places.flatten().tolist()) == set(range(SHOTS, count))


def test_every_group_and_every_row_gets_its_turn() -> None:
    support, query, _ = episodes(groups(), tasks=2000)
    assert set(torch.cat([support.inputs, query.inputs], 1)[..., 2].flatten().tolist()) == set(range(sum(COUNTS)))
    share = (support.inputs[:, 0, 0] == torch.arange(len(COUNTS))[:, None]).float().mean(dim=1)
    torch.testing.assert_close(share, torch.full_like(share, 1 / len(COUNTS)), rtol=0, atol=0.04)


def test_large_groups_are_drawn_from_to_their_end() -> None:
    support, query, _ = episodes(groups((300, 12, 250)), tasks=1500)
    rows = torch.cat([support.inputs, query.inputs], 1)
    for group, count in enumerate((300, 12, 250)):
        places = rows[rows[:, 0, 0] == group][..., 1]
        assert set(places.flatten().tolist()) == set(range(count))
        assert all(len(set(task.tolist())) == SHOTS + QUERIES for task in places)


def test_every_number_of_shots_of_a_range_is_drawn_and_no_other() -> None:
    drawn, generator = distribution(groups(), shots=[2, 4]), torch.Generator().manual_seed(0)
    numbers = [drawn.sample(generator, 2).support.inputs.shape[1] for _ in range(60)]
    assert {n: numbers.count(n) > 8 for n in numbers} == {2: True, 3: True, 4: True}


def test_all_classes_of_the_data_are_in_every_task_also_those_a_support_lacks() -> None:
    support, query, class_ids = episodes(groups(num_classes=5), shots=2)
    assert support.class_mask.shape == (TASKS, 5)
    assert support.class_mask.all()
    assert (class_ids == torch.arange(5)).all()
    for rows in (support, query):
        assert torch.equal(rows.targets, rows.inputs[..., 1].long() % 5)
    assert any(len(set(task.tolist())) < 5 for task in support.targets)


def test_distribution_tells_what_its_rows_look_like() -> None:
    assert distribution(groups())[1:-1] == ("vector", (3,), "regression", 1, 0)
    assert distribution(groups(num_classes=5))[1:-1] == ("vector", (3,), "classification", 5, 5)


def test_same_seed_gives_the_same_tasks_and_another_seed_others() -> None:
    one, again, other = (episodes(groups(), seed=seed) for seed in (0, 0, 1))
    assert torch.equal(one.query.inputs, again.query.inputs)
    assert not torch.equal(one.query.inputs, other.query.inputs)


def test_group_with_too_few_rows_is_refused_by_name() -> None:
    with pytest.raises(ValueError, match="group 'group 1' has 9 rows; 4 shots and 6 queries need 10"):
        distribution(groups((30, 9, 30)))
    with pytest.raises(ValueError, match="group 'group 0' has 20 rows; 15 shots and 6 queries need 21"):
        distribution(groups(), shots=[1, 15])
    assert distribution(groups((10, 10, 10))).sample(torch.Generator(), 3).query.inputs.shape == (3, 6, 3)


@pytest.mark.parametrize(
    "wrong",
    [{"shots": 0}, {"shots": [1]}, {"queries": 0}, {"order": "last"}, {"scaling": 1}, {"ways": 5}],
    ids=str,
)
def test_wrong_options_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        distribution(groups(), **wrong)
