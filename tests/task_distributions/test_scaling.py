from typing import Any

import torch

from app.task_distributions.dataset import Dataset
from app.task_distributions.distribution import Split
from app.task_distributions.registry import build_distribution
from tests.task_distributions.data_sets import groups, pictures, split, vectors

SPLITS: tuple[Split, ...] = ("train", "validation", "test")
SPLIT_OF_GROUPS: dict[Split, tuple[int, ...]] = {"train": (0, 2, 3, 5), "validation": (1, 4), "test": (6, 7)}


def scaled(data: Dataset, which: Split = "train", **changes: Any) -> Any:
    options = {"kind": data.kind, "dataset": "x", "shots": 1, "queries": 1, **changes}
    return build_distribution(options, which, {"x": data}).scaling


def test_numbers_and_targets_are_scaled_by_the_training_groups_alone() -> None:
    data = groups()._replace(split=SPLIT_OF_GROUPS)
    training = torch.isin(data.groups, torch.tensor(SPLIT_OF_GROUPS["train"]))
    for which in SPLITS:
        found = scaled(data, which)
        torch.testing.assert_close(found.input_mean, data.inputs[training].mean(dim=0))
        torch.testing.assert_close(found.input_std, data.inputs[training].std(dim=0, correction=0))
        torch.testing.assert_close(found.target_mean, data.targets[training].mean(dim=0))
        torch.testing.assert_close(found.target_std, data.targets[training].std(dim=0, correction=0))


def test_labelled_numbers_are_scaled_by_the_training_classes_alone() -> None:
    data = split(vectors())
    training = torch.isin(data.targets, torch.tensor(data.split["train"]))
    found = scaled(data, "test", ways=2)
    torch.testing.assert_close(found.input_mean, data.inputs[training].mean(dim=0))
    torch.testing.assert_close(found.input_std, data.inputs[training].std(dim=0, correction=0))
    assert found.target_mean.shape == found.target_std.shape == (0,)


def test_number_that_never_changes_is_divided_by_1() -> None:
    data = groups()
    data = data._replace(inputs=torch.cat([data.inputs, torch.full((len(data.inputs), 1), 0.1)], dim=1))
    found = scaled(data)
    assert float(found.input_std[3]) == 1.0
    torch.testing.assert_close(found.input_mean[3], torch.tensor(0.1))


def test_large_numbers_keep_their_small_differences() -> None:
    data = groups()
    found = scaled(data._replace(inputs=data.inputs + 1e6))
    torch.testing.assert_close(found.input_std, data.inputs.std(dim=0, correction=0), rtol=0.01, atol=0.1)


def test_pictures_and_data_that_are_to_stay_as_they_are_have_no_scaling() -> None:
    assert scaled(pictures(), ways=2) is None
    assert scaled(groups(), scaling=False) is None
    assert scaled(vectors(), ways=2, scaling=False) is None
