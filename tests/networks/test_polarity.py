import pytest
import torch

from app.networks.polarity import ink_first


@pytest.mark.parametrize(("light", "turned"), [(0, False), (1, False), (7, False), (8, False), (9, True), (16, True)])
def test_a_picture_is_turned_exactly_where_more_than_half_of_it_is_light(light: int, turned: bool) -> None:
    picture = (torch.arange(16) < light).float().view(1, 1, 4, 4)
    assert torch.equal(ink_first(picture), 1 - picture if turned else picture)


def test_each_picture_is_looked_at_alone_over_all_its_channels() -> None:
    pictures = torch.tensor([0.9, 0.2]).view(2, 1, 1, 1) * torch.ones(2, 3, 2, 2)
    pictures[0, 0] = 0.4  # one dark channel of three leaves it a light picture
    found = ink_first(pictures)
    assert torch.equal(found[0], 1 - pictures[0])
    assert torch.equal(found[1], pictures[1])
