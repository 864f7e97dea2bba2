"""Folds: which rows are left out together."""

import pytest
import torch
from torch import Tensor

from app.engine.folds import Folds, folds_of


def left_out(folds: Folds) -> list[list[int]]:
    """Return the rows of each fold without padding."""
    return [rows[counts].tolist() for rows, counts in zip(folds.rows, folds.counts, strict=True)]


def classes_of(sizes: list[int]) -> Tensor:
    """Return targets that have `sizes[n]` rows of class n, classes taking turns."""
    return torch.tensor([n for turn in range(max(sizes)) for n, size in enumerate(sizes) if turn < size])


CLASSES: dict[str, tuple[list[int], int, int, str]] = {
    "five of each": ([5] * 5, 5, 25, "k_fold"),
    "two of each": ([2, 2, 2], 2, 6, "k_fold"),
    "one class of two": ([2, 1, 1], 2, 2, "leave_one_out"),
    "one class of seven": ([7, 1], 7, 7, "leave_one_out"),
    "more than there are folds": ([25, 30, 2], 10, 57, "k_fold"),
    "some with one": ([4, 1, 3, 1], 4, 7, "k_fold"),
}


@pytest.mark.parametrize(("sizes", "num_folds", "num_rows", "method"), CLASSES.values(), ids=CLASSES)
def test_each_row_whose_class_has_others_is_left_out_once(
    sizes: list[int], num_folds: int, num_rows: int, method: str
) -> None:
    targets = classes_of(sizes)
    folds = folds_of(targets, len(sizes) + 2, 10)
    assert folds is not None
    assert (len(folds.rows), folds.method) == (num_folds, method)
    rows = sorted(row for fold in left_out(folds) for row in fold)
    assert rows == [row for row in range(len(targets)) if sizes[int(targets[row])] > 1]
    assert len(rows) == num_rows


@pytest.mark.parametrize("sizes", [sizes for sizes, *_ in CLASSES.values()], ids=CLASSES)
def test_no_fold_leaves_out_all_of_a_class_or_more_of_it_than_must_be(sizes: list[int]) -> None:
    targets = classes_of(sizes)
    folds = folds_of(targets, len(sizes), 10)
    assert folds is not None
    for fold in left_out(folds):
        for n, size in enumerate(sizes):
            gone = sum(int(targets[row]) == n for row in fold)
            assert gone <= -(-size // len(folds.rows))
            assert gone < size


@pytest.mark.parametrize(
    ("num_rows", "num_folds", "method"),
    [(2, 2, "leave_one_out"), (10, 10, "leave_one_out"), (11, 10, "k_fold"), (25, 10, "k_fold")],
)
def test_rows_of_numbers_are_left_out_once(num_rows: int, num_folds: int, method: str) -> None:
    folds = folds_of(torch.zeros(num_rows, 1), 0, 10)
    assert folds is not None
    assert (len(folds.rows), folds.method) == (num_folds, method)
    found = left_out(folds)
    assert sorted(row for fold in found for row in fold) == list(range(num_rows))
    assert max(map(len, found)) - min(map(len, found)) <= 1


@pytest.mark.parametrize(
    ("targets", "num_classes"), [(torch.zeros(1, 1), 0), (torch.arange(5), 5), (torch.arange(2), 9)]
)
def test_where_nothing_can_be_left_out_there_are_no_folds(targets: Tensor, num_classes: int) -> None:
    assert folds_of(targets, num_classes, 10) is None


def test_folds_are_the_same_each_time_and_do_not_follow_the_order_of_rows() -> None:
    one, other = (folds_of(torch.zeros(20, 1), 0, 10) for _ in range(2))
    assert one is not None
    assert other is not None
    assert torch.equal(one.rows, other.rows)
    assert left_out(one) != [[row, row + 10] for row in range(10)]
