import pytest
import torch

from app.episode import Episode, Query, Support
from app.training.portions import cached_size, parts, portions, threaded_size
from tests.training.small_runs import SINUSOIDS

TASKS, ROWS = 7, 20  # ten of support and ten of query


@pytest.mark.parametrize(
    ("rows_at_once", "sizes"),
    [(1000, [7]), (140, [7]), (139, [6, 1]), (40, [2, 2, 2, 1]), (20, [1] * 7), (1, [1] * 7)],
)
def test_portions_are_all_tasks_in_their_order_with_as_many_rows_as_allowed(
    rows_at_once: int, sizes: list[int]
) -> None:
    episodes = SINUSOIDS.sample(torch.Generator().manual_seed(0), TASKS)
    found = list(portions(episodes, rows_at_once))
    assert [len(portion.query.inputs) for portion in found] == sizes
    for leaves, whole in zip(zip(*map(_leaves, found), strict=True), _leaves(episodes), strict=True):
        assert torch.equal(torch.cat(leaves), whole)


@pytest.mark.parametrize(
    ("num_tasks", "rows", "side", "size"),
    [(16, 10, 28, 8), (16, 80, 28, 1), (16, 200, 28, 1), (15, 10, 28, 5), (13, 10, 28, 1), (4, 10, 28, 4)],
)
def test_tasks_of_pictures_are_taken_as_many_at_once_as_fit_and_divide_them(
    num_tasks: int, rows: int, side: int, size: int
) -> None:
    assert cached_size(_episodes(num_tasks, rows, 1, side, side)) == size


def test_tasks_of_vectors_are_taken_all_at_once() -> None:
    assert cached_size(_episodes(25, 2000, 64)) == 25


@pytest.mark.parametrize(
    ("num_tasks", "parameters", "threads", "size"),
    [(25, 1761, 2, 25), (16, 100_000, 2, 8), (16, 100_000, 3, 4), (15, 100_000, 2, 5), (2, 1_000_000, 8, 1)],
    ids=["too little work", "halves", "no thirds", "fifths", "more threads than tasks"],
)
def test_threads_share_tasks_where_there_is_work_for_them(
    num_tasks: int, parameters: int, threads: int, size: int
) -> None:
    assert threaded_size(_episodes(num_tasks, ROWS, 1), parameters, threads) == size


def test_equal_parts_of_pictures_are_shared_by_threads() -> None:
    assert [threaded_size(_episodes(16, rows, 1, 28, 28), 1, 4) for rows in (2, 10, 80)] == [4, 4, 1]


def test_parts_are_equal() -> None:
    assert [len(part.class_ids) for part in parts(_episodes(16, 10, 1), 4)] == [4] * 4


def _episodes(num_tasks: int, rows: int, *shape: int) -> Episode:
    """Return tasks with so many rows, half of them support."""
    inputs, mask = torch.zeros(num_tasks, rows // 2, *shape), torch.ones(num_tasks, rows // 2, dtype=torch.bool)
    targets, none = torch.zeros(num_tasks, rows // 2, 1), torch.zeros(num_tasks, 0, dtype=torch.bool)
    return Episode(Support(inputs, targets, mask, none), Query(inputs, targets, mask), none.long())


def _leaves(episodes: Episode) -> list[torch.Tensor]:
    return [*episodes.support, *episodes.query, episodes.class_ids]
