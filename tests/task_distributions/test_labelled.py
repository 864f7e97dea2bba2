from typing import Any

import pytest
import torch
from pydantic import ValidationError
from torch import Tensor

from app.episode import Episode
from app.task_distributions.dataset import Dataset
from app.task_distributions.distribution import Distribution
from app.task_distributions.labelled import LabelledOptions, labelled
from tests.task_distributions.data_sets import COUNTS, pictures, split, vectors

TASKS, WAYS, SHOTS, QUERIES = 50, 4, 3, 5


def distribution(data: Dataset, **changes: Any) -> Distribution:
    options = {"dataset": "any", "ways": WAYS, "shots": SHOTS, "queries": QUERIES, **changes}
    return labelled(LabelledOptions.model_validate(options), data, "train")


def episodes(data: Dataset, tasks: int = TASKS, seed: int = 0, **changes: Any) -> Episode:
    return distribution(data, **changes).sample(torch.Generator().manual_seed(seed), tasks)


def test_rows_are_as_many_as_asked_for_and_all_count() -> None:
    support, query, class_ids = episodes(vectors())
    assert support.inputs.shape == (TASKS, WAYS * SHOTS, 2)
    assert query.inputs.shape == (TASKS, WAYS * QUERIES, 2)
    assert support.class_mask.shape == class_ids.shape == (TASKS, WAYS)
    assert all(mask.all() for mask in (support.row_mask, support.class_mask, query.row_mask))
    assert all(targets.dtype == torch.int64 for targets in (support.targets, query.targets, class_ids))


@pytest.mark.parametrize("ways", [2, WAYS, len(COUNTS)])
def test_classes_of_a_task_are_distinct(ways: int) -> None:
    assert all(len(set(ids.tolist())) == ways for ids in episodes(vectors(), ways=ways).class_ids)


def test_each_row_is_of_the_class_its_target_stands_for() -> None:
    support, query, class_ids = episodes(vectors())
    for rows in (support, query):
        torch.testing.assert_close(rows.inputs[..., 0].long(), class_ids.gather(1, rows.targets))


def test_each_class_has_as_many_rows_as_the_others() -> None:
    support, query, _ = episodes(vectors())
    assert (torch.nn.functional.one_hot(support.targets).sum(dim=1) == SHOTS).all()
    assert (torch.nn.functional.one_hot(query.targets).sum(dim=1) == QUERIES).all()


@pytest.mark.parametrize("queries", [QUERIES, min(COUNTS) - SHOTS])
def test_no_row_comes_twice_in_a_task(queries: int) -> None:
    support, query, _ = episodes(vectors(), queries=queries)
    rows = torch.cat([support.inputs, query.inputs], dim=1)[..., 1]
    assert all(len(set(task.tolist())) == WAYS * (SHOTS + queries) for task in rows)


def test_every_class_and_every_row_gets_its_turn() -> None:
    support, query, class_ids = episodes(vectors(), tasks=500)
    assert set(class_ids.flatten().tolist()) == set(range(len(COUNTS)))
    rows = torch.cat([support.inputs, query.inputs], dim=1)[..., 1]
    assert set(rows.flatten().tolist()) == set(range(sum(COUNTS)))


def test_class_gets_every_place_in_a_task() -> None:
    """Or the head would learn which class is which."""
    ids = episodes(vectors(), tasks=1000).class_ids
    share = torch.stack([(ids == n).float().mean(dim=0) for n in range(len(COUNTS))])
    torch.testing.assert_close(share, torch.full_like(share, 1 / len(COUNTS)), rtol=0, atol=0.04)


def test_every_number_of_shots_of_a_range_is_drawn_and_no_other() -> None:
    drawn = distribution(vectors(), shots=[2, 4])
    generator = torch.Generator().manual_seed(0)
    numbers = [drawn.sample(generator, 2).support.inputs.shape[1] // WAYS for _ in range(60)]
    assert {n: numbers.count(n) > 8 for n in numbers} == {2: True, 3: True, 4: True}


def test_every_number_of_training_ways_of_a_range_is_drawn_and_no_other() -> None:
    drawn = distribution(vectors(), training_ways=[2, 4])
    assert drawn.num_outputs == 4
    generator, numbers = torch.Generator().manual_seed(0), []
    for _ in range(60):
        support, query, class_ids = drawn.sample(generator, 2)
        ways = support.class_mask.shape[1]
        assert class_ids.shape == (2, ways)
        assert support.class_mask.all()
        assert all(set(rows.targets.flatten().tolist()) == set(range(ways)) for rows in (support, query))
        numbers.append(ways)
    assert {n: numbers.count(n) > 8 for n in numbers} == {2: True, 3: True, 4: True}


@pytest.mark.parametrize(("share", "wrong"), [(0.0, 0), (0.3, 4), (0.9, 11)])
def test_that_share_of_the_support_labels_is_wrong_and_no_query_label(share: float, wrong: int) -> None:
    support, query, class_ids = episodes(vectors(), label_noise=share)
    is_wrong = support.inputs[..., 0].long() != class_ids.gather(1, support.targets)
    assert (is_wrong.sum(dim=1) == wrong).all()
    assert ((support.targets >= 0) & (support.targets < WAYS)).all()
    assert torch.equal(query.inputs[..., 0].long(), class_ids.gather(1, query.targets))


def test_wrong_labels_leave_the_rows_of_a_task_as_they_are() -> None:
    clean, noisy = episodes(vectors()), episodes(vectors(), label_noise=0.3)
    assert torch.equal(clean.support.inputs, noisy.support.inputs)
    assert torch.equal(clean.query.inputs, noisy.query.inputs)
    assert torch.equal(clean.class_ids, noisy.class_ids)
    assert torch.equal(clean.support.class_mask, noisy.support.class_mask)


def test_every_row_and_every_other_class_gets_its_turn_at_being_wrong() -> None:
    support, _, _ = episodes(vectors(), tasks=2000, label_noise=0.25)
    true = torch.arange(WAYS).repeat_interleave(SHOTS).expand_as(support.targets)
    is_wrong = support.targets != true
    share_S = is_wrong.float().mean(dim=0)
    torch.testing.assert_close(share_S, torch.full_like(share_S, 0.25), rtol=0, atol=0.04)
    apart = ((support.targets - true) % WAYS)[is_wrong]
    share = torch.stack([(apart == n).float().mean() for n in range(1, WAYS)])
    torch.testing.assert_close(share, torch.full_like(share, 1 / (WAYS - 1)), rtol=0, atol=0.03)


def test_same_seed_gives_the_same_tasks_and_another_seed_others() -> None:
    one, again, other = (episodes(vectors(), seed=seed) for seed in (0, 0, 1))
    assert torch.equal(one.support.inputs, again.support.inputs)
    assert torch.equal(one.query.inputs, again.query.inputs)
    assert not torch.equal(one.support.inputs, other.support.inputs)


def test_distribution_tells_what_its_rows_look_like() -> None:
    assert distribution(vectors())[1:-1] == ("vector", (2,), "classification", WAYS, len(COUNTS))
    assert distribution(pictures())[1:-1] == ("image", (1, 4, 4), "classification", WAYS, 8)


def test_pictures_become_numbers_from_0_to_1() -> None:
    data = pictures()
    support, _, class_ids = episodes(data)
    assert support.inputs.dtype == torch.float32
    assert 0.0 <= float(support.inputs.min()) <= float(support.inputs.max()) <= 1.0
    assert _turn_of(support.inputs[0, 0], data, int(class_ids[0, 0])) == 0


def test_data_are_left_as_they_were() -> None:
    data = pictures()
    episodes(data, rotations=True, reflections=True)
    assert torch.equal(data.inputs, pictures().inputs)


def test_turned_pictures_are_classes_of_their_own() -> None:
    data = pictures()
    support, query, class_ids = episodes(data, rotations=True, ways=16)
    assert distribution(data, rotations=True).num_classes == 4 * len(data.class_names)
    assert set(class_ids.flatten().tolist()) == set(range(32))
    for rows in (support, query):
        for inputs, targets, ids in zip(rows.inputs[:5], rows.targets, class_ids, strict=False):
            turns = [_turn_of(x, data, int(ids[n]) // 4) for x, n in zip(inputs, targets, strict=True)]
            assert turns == (ids[targets] % 4).tolist()


@pytest.mark.parametrize(("rotations", "poses"), [(False, 2), (True, 8)], ids=["mirrored", "mirrored and turned"])
def test_mirrored_pictures_are_classes_of_their_own(rotations: bool, poses: int) -> None:
    """A class is one pose in all of its rows, and every pose of it is a class."""
    data = pictures()
    changes = {"reflections": True, "rotations": rotations, "ways": 2 * poses}
    support, query, class_ids = episodes(data, **changes)
    assert distribution(data, **changes).num_classes == poses * len(data.class_names)
    assert set(class_ids.flatten().tolist()) == set(range(poses * len(data.class_names)))
    pose_of_id: dict[int, tuple[int, bool]] = {}
    for rows in (support, query):
        for inputs, targets, ids in zip(rows.inputs[:12], rows.targets, class_ids, strict=False):
            for x, class_id in zip(inputs, ids[targets].tolist(), strict=True):
                pose = _pose_of(x, data, class_id // poses)
                assert pose_of_id.setdefault(class_id % poses, pose) == pose
    turns = range(4) if rotations else range(1)
    assert sorted(pose_of_id.values()) == sorted((turn, mirrored) for turn in turns for mirrored in (False, True))


def _pose_of(picture: Tensor, data: Dataset, class_id: int) -> tuple[int, bool]:
    """Return by how many quarter turns, and whether by a mirror behind them, it differs from one of its class."""
    ours = (picture * 255).round().to(torch.uint8)
    poses = {
        (n, mirrored): _posed(data.inputs[data.targets == class_id], n, mirrored)
        for n in range(4)
        for mirrored in (False, True)
    }
    (found,) = [pose for pose, candidates in poses.items() if (candidates == ours).flatten(1).all(dim=1).any()]
    return found


def _posed(candidates: Tensor, turns: int, mirrored: bool) -> Tensor:
    turned = torch.rot90(candidates, turns, (-2, -1))
    return turned.flip(-1) if mirrored else turned


def test_poses_distortion_and_wrong_labels_are_for_training_alone() -> None:
    plain = {"dataset": "any", "ways": 2, "shots": SHOTS, "queries": QUERIES}
    for_training = {"rotations": True, "reflections": True, "distortion": 0.3, "label_noise": 0.5, "training_ways": 4}
    data = split(pictures())
    for part in ("validation", "test"):
        one, other = (
            labelled(LabelledOptions.model_validate(options), data, part)
            for options in (plain, {**plain, **for_training})
        )
        assert (one.num_classes, one.num_outputs) == (other.num_classes, other.num_outputs)
        drawn = [tasks.sample(torch.Generator().manual_seed(0), 3) for tasks in (one, other)]
        assert torch.equal(drawn[0].support.inputs, drawn[1].support.inputs)
        assert torch.equal(drawn[0].support.targets, drawn[1].support.targets)
        assert torch.equal(drawn[0].query.inputs, drawn[1].query.inputs)


def test_data_of_numbers_are_left_as_they_were_by_every_pose() -> None:
    data = pictures()
    data = data._replace(inputs=data.inputs.float())
    before = data.inputs.clone()
    episodes(data, rotations=True, reflections=True)
    assert torch.equal(data.inputs, before)


def _turn_of(picture: Tensor, data: Dataset, class_id: int) -> int:
    """Return by how many quarter turns the picture differs from one of its class."""
    ours = (picture * 255).round().to(torch.uint8)
    candidates = data.inputs[data.targets == class_id]
    found = [turns for turns in range(4) if (torch.rot90(candidates, turns, (-2, -1)) == ours).flatten(1).all(1).any()]
    assert len(found) == 1
    return found[0]


@pytest.mark.parametrize(
    ("data", "changes", "message"),
    [
        (vectors(), {"ways": 9}, "9 ways need as many classes; this split has 8"),
        (pictures(), {"ways": 33, "rotations": True}, "33 ways need as many classes; this split has 32"),
        (vectors(), {"queries": 18}, "class 'class 0' has 20 rows; 3 shots and 18 queries need 21"),
        (vectors((30, 4, 30, 30)), {}, "class 'class 1' has 4 rows; 3 shots and 5 queries need 8"),
        (vectors(), {"shots": [1, 16]}, "class 'class 0' has 20 rows; 16 shots and 5 queries need 21"),
        (vectors(), {"shots": [4, 2]}, r"shots: the range \[4, 2\] is empty"),
        (vectors(), {"training_ways": [4, 2]}, r"training_ways: the range \[4, 2\] is empty"),
        (vectors(), {"training_ways": [2, 9]}, "9 ways need as many classes; this split has 8"),
        (vectors(), {"rotations": True}, r"need square pictures; these inputs have shape \[2\]"),
        (pictures(), {"ways": 17, "reflections": True}, "17 ways need as many classes; this split has 16"),
        (pictures(), {"ways": 65, "reflections": True, "rotations": True}, "this split has 64"),
        (vectors(), {"reflections": True}, r"need square pictures; these inputs have shape \[2\]"),
        (vectors(), {"distortion": 0.1}, r"need square pictures; these inputs have shape \[2\]"),
    ],
    ids=lambda value: str(value) if not isinstance(value, Dataset) else "",
)
def test_what_cannot_be_drawn_is_refused_and_why(data: Dataset, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        distribution(data, **changes)


@pytest.mark.parametrize(
    "wrong",
    [
        {"ways": 1},
        {"shots": 0},
        {"shots": [1]},
        {"shots": [1, 2, 3]},
        {"shots": [0, 3]},
        {"queries": 0},
        {"training_ways": 1},
        {"training_ways": [1, 3]},
        {"training_ways": [2, 3, 4]},
        {"label_noise": 0.95},
        {"label_noise": -0.1},
        {"label_noise": float("nan")},
        {"evaluation_label_noise": 1},
        {"training_queries": 0},
        {"rotations": 1},
        {"reflections": 1},
        {"reflections": None},
        {"ways": "5"},
        {"distortion": -0.1},
        {"distortion": 0.6},
        {"distortion": float("nan")},
        {"unheard_of": 1},
    ],
    ids=str,
)
def test_wrong_options_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        distribution(vectors(), **wrong)
