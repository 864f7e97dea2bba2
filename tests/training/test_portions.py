import pytest
import torch

from app.episode import Episode
from app.training.portions import portions
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


def _leaves(episodes: Episode) -> list[torch.Tensor]:
    return [*episodes.support, *episodes.query, episodes.class_ids]
