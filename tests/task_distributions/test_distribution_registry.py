from pathlib import Path
from typing import Any

import pytest
import torch
from pydantic import ValidationError

from app.commands.requests import datasets_from
from app.task_distributions.distribution import Distribution, Split
from app.task_distributions.registry import build_distribution
from tests.task_distributions.data_sets import groups, pictures, split, vectors

EXCERPT = Path(__file__).parent.parent / "data" / "omniglot_excerpt.zip"
OPTIONS = {"kind": "labelled", "dataset": "noise", "ways": 2, "shots": 1, "queries": 3}
NOISE = split(pictures(num_classes=20))


def split_of(split: Split, **changes: Any) -> Distribution:
    return build_distribution({**OPTIONS, **changes}, split, {"noise": NOISE})


def test_training_ways_and_queries_are_for_training_alone() -> None:
    changes = {"training_ways": 6, "training_queries": 4}
    rows = {split: split_of(split, **changes).sample(torch.Generator(), 1) for split in ("train", "validation", "test")}
    assert {split: len(drawn.class_ids[0]) for split, drawn in rows.items()} == {"train": 6, "validation": 2, "test": 2}
    assert {split: drawn.query.inputs.shape[1] for split, drawn in rows.items()} == {
        "train": 6 * 4,
        "validation": 2 * 3,
        "test": 2 * 3,
    }


@pytest.mark.parametrize(
    ("changes", "noisy"), [("label_noise", {"train"}), ("evaluation_label_noise", {"validation", "test"})]
)
def test_label_noise_of_training_and_of_evaluation_are_apart(changes: str, noisy: set[str]) -> None:
    of_five = {"shots": 5, "queries": 3}
    for name in ("train", "validation", "test"):
        clean, found = (
            split_of(name, **of_five, **change).sample(torch.Generator(), 4).support.targets
            for change in ({}, {changes: 0.4})
        )
        assert ((clean != found).sum(dim=1) == (4 if name in noisy else 0)).all()


def test_held_out_pictures_stand_upright_and_undistorted() -> None:
    num_classes = {split: split_of(split, rotations=True).num_classes for split in ("train", "validation", "test")}
    assert num_classes == {"train": 4 * 12, "validation": 4, "test": 4}
    originals = {tuple(picture.flatten().tolist()) for picture in NOISE.inputs}
    for held_out in ("validation", "test"):
        inputs = (
            split_of(held_out, rotations=True, distortion=0.3).sample(torch.Generator(), 50).query.inputs.flatten(0, 1)
        )
        drawn = {tuple((picture * 255).round().long().flatten().tolist()) for picture in inputs}
        assert drawn <= originals


def test_splits_share_no_picture() -> None:
    drawn = {
        split: {
            tuple(picture.flatten().tolist())
            for picture in split_of(split).sample(torch.Generator(), 200).query.inputs.flatten(0, 1)
        }
        for split in ("train", "validation", "test")
    }
    assert not drawn["train"] & drawn["validation"]
    assert not drawn["train"] & drawn["test"]
    assert not drawn["validation"] & drawn["test"]


def test_held_out_split_with_too_few_classes_is_refused() -> None:
    with pytest.raises(ValueError, match="5 ways need as many classes; this split has 4"):
        split_of("validation", ways=5)


def test_training_ways_that_the_training_split_lacks_are_refused() -> None:
    with pytest.raises(ValueError, match="13 ways need as many classes; this split has 12"):
        split_of("train", training_ways=13)


def test_unknown_data_set_is_refused_with_how_to_name_it() -> None:
    with pytest.raises(ValueError, match=r"data set 'omniglot' is not at hand; POST /datasets .*--data omniglot=PATH"):
        split_of("train", dataset="omniglot")


@pytest.mark.parametrize("kind", ["sinusoids", "", "Sinusoid"])
def test_unknown_kind_is_refused_with_the_known_ones(kind: str) -> None:
    with pytest.raises(ValueError, match=rf"tasks kind '{kind}' is not one of \['grouped', 'labelled', 'sinusoid'"):
        build_distribution({"kind": kind}, "train", {})


def test_missing_data_set_is_refused() -> None:
    with pytest.raises(ValidationError, match="dataset"):
        build_distribution({"kind": "labelled"}, "train", {})


def test_real_drawings_make_episodes_as_the_shipped_model_trains_on() -> None:
    options = {
        "kind": "labelled",
        "dataset": "omniglot",
        "ways": 5,
        "shots": [1, 5],
        "queries": 5,
        "rotations": True,
        "training_ways": 60,
    }
    drawings, _ = datasets_from([f"omniglot={EXCERPT}"])
    training = build_distribution(options, "train", drawings)
    assert training.num_classes == 3 * 6 * 4
    assert training.sample(torch.Generator(), 1).query.inputs.shape == (1, 60 * 5, 1, 28, 28)
    assert build_distribution(options, "test", drawings).sample(torch.Generator(), 1).class_ids.shape == (1, 5)


def test_tasks_and_data_of_two_kinds_are_refused() -> None:
    with pytest.raises(ValueError, match="data set 'x' is grouped; tasks of kind 'labelled' need a labelled one"):
        build_distribution({"kind": "labelled", "dataset": "x"}, "train", {"x": groups()})
    with pytest.raises(ValueError, match="data set 'x' is labelled; tasks of kind 'grouped' need a grouped one"):
        build_distribution({"kind": "grouped", "dataset": "x"}, "train", {"x": vectors()})


PLAIN = {"kind": "labelled", "dataset": "omniglot", "ways": 5, "shots": [1, 5], "queries": 5}
TURNED = {**PLAIN, "rotations": True, "training_ways": 20, "distortion": 0.2}


@pytest.mark.parametrize(
    ("options", "split_", "class_ids", "total"),
    [
        ({**PLAIN, "shots": 1}, "train", [8, 17, 0, 3, 12], 73998.85498),
        (PLAIN, "test", [0, 5, 1, 3, 2], 73897.20792),
        (TURNED, "train", [62, 43, 18, 57, 30], 296055.15860),
    ],
)
def test_golden_episodes(options: dict[str, Any], split_: Split, class_ids: list[int], total: float) -> None:
    """What the shipped model was trained and judged on: found before data sets could be uploaded.

    Made anew by printing `class_ids[0, :5]` and `query.inputs.double().sum()` of the third draw.
    """
    drawings, _ = datasets_from([f"omniglot={EXCERPT}"])
    distribution, generator = build_distribution(options, split_, drawings), torch.Generator().manual_seed(7)
    drawn = [distribution.sample(generator, 4) for _ in range(3)][-1]
    assert drawn.class_ids[0, :5].tolist() == class_ids
    assert float(drawn.query.inputs.double().sum()) == pytest.approx(total, abs=0.01)
