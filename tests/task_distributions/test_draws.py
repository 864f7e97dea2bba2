import pytest
import torch

from app.task_distributions.draws import distinct_places


@pytest.mark.parametrize("counts", [(5, 7, 5), (400, 1000, 500), (5, 1000, 6, 500)], ids=["few", "many", "both"])
def test_places_are_distinct_and_below_their_count(counts: tuple[int, ...]) -> None:
    counts_T = torch.tensor(counts).repeat(50)
    found = distinct_places(counts_T, 5, torch.Generator().manual_seed(0))
    assert found.shape == (len(counts_T), 5)
    assert (found >= 0).all()
    assert (found < counts_T[:, None]).all()
    assert all(len(set(task.tolist())) == 5 for task in found)


@pytest.mark.parametrize("count", [6, 10], ids=["by keys", "by trying"])
def test_each_place_is_drawn_as_often_as_the_others_at_each_turn(count: int) -> None:
    """Three of six rank keys, three of ten are tried until they are distinct: 10 is above 3**2."""
    found = distinct_places(torch.full((20_000,), count), 3, torch.Generator().manual_seed(0))
    share = torch.stack([(found == place).float().mean(dim=0) for place in range(count)])
    torch.testing.assert_close(share, torch.full_like(share, 1 / count), rtol=0, atol=0.012)


def test_same_seed_gives_the_same_places() -> None:
    counts_T = torch.tensor([5, 1000])
    one, again = (distinct_places(counts_T, 5, torch.Generator().manual_seed(1)) for _ in range(2))
    assert torch.equal(one, again)
