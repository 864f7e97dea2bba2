import pytest
import torch

from app.task_distributions.distribution import Split
from app.task_distributions.split import split_by_super_class, super_classes_of
from tests.task_distributions.data_sets import vectors

SPLITS: tuple[Split, ...] = ("train", "validation", "test")


def test_no_super_class_is_in_two_splits_and_none_is_lost() -> None:
    data = vectors([5] * 40)
    names = [set(split_by_super_class(data, split).super_classes) for split in SPLITS]
    assert sum(map(len, names)) == len(set.union(*names)) == 20
    assert [len(part) for part in names] == [14, 3, 3]


def test_classes_keep_their_rows_and_their_super_class() -> None:
    data = vectors([5] * 40)
    for split in SPLITS:
        part = split_by_super_class(data, split)
        for rows, name, super_class in zip(part.rows_of_class, part.class_names, part.super_classes, strict=True):
            i = data.class_names.index(name)
            assert rows is data.rows_of_class[i]
            assert super_class == data.super_classes[i]


def test_no_row_is_in_two_splits() -> None:
    data = vectors([5] * 40)
    parts = [torch.cat(split_by_super_class(data, split).rows_of_class) for split in SPLITS]
    assert torch.equal(torch.cat(parts).sort().values, torch.arange(200))


def test_split_depends_on_the_names_alone_and_not_on_their_order() -> None:
    data = vectors([5] * 40)
    turned = data._replace(super_classes=data.super_classes[::-1])
    assert super_classes_of(turned) == super_classes_of(data)


def test_another_seed_is_another_split() -> None:
    data = vectors([5] * 40)
    assert super_classes_of(data, seed=1) != super_classes_of(data, seed=0)


@pytest.mark.parametrize("num_super_classes", [3, 4, 5, 6, 7, 10])
def test_each_split_has_a_super_class_where_there_are_three(num_super_classes: int) -> None:
    assert all(super_classes_of(vectors([5] * 2 * num_super_classes)).values())


@pytest.mark.parametrize("num_super_classes", [1, 2])
def test_fewer_than_three_super_classes_are_refused(num_super_classes: int) -> None:
    with pytest.raises(ValueError, match=f"three splits need at least 3 super-classes; there are {num_super_classes}"):
        split_by_super_class(vectors([5] * 2 * num_super_classes), "train")
