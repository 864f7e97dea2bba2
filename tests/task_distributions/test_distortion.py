import pytest
import torch
from torch import Tensor

from app.task_distributions.distortion import distorted


def pictures(num: int = 6, size: int = 9) -> Tensor:
    return torch.rand(num, 1, size, size, generator=torch.Generator().manual_seed(0))


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_no_strength_is_no_change() -> None:
    torch.testing.assert_close(distorted(pictures(), 0.0, generator()), pictures(), rtol=0, atol=1e-5)


def test_each_picture_gets_a_map_of_its_own() -> None:
    same = pictures(1).expand(5, -1, -1, -1)
    found = distorted(same, 0.3, generator())
    assert all(not torch.allclose(found[0], other) for other in found[1:])


def test_same_seed_is_the_same_distortion_and_another_seed_another() -> None:
    one, again, other = (distorted(pictures(), 0.3, generator(seed)) for seed in (0, 0, 1))
    assert torch.equal(one, again)
    assert not torch.allclose(one, other)


@pytest.mark.parametrize("strength", [0.1, 0.5])
def test_no_tone_is_made_that_was_not_there(strength: float) -> None:
    """What comes in from outside is border, not black: a white margin stays white."""
    found = distorted(pictures() * 0.5 + 0.25, strength, generator())
    assert float(found.min()) >= 0.25 - 1e-6
    assert float(found.max()) <= 0.75 + 1e-6
    torch.testing.assert_close(distorted(torch.ones(4, 1, 9, 9), strength, generator()), torch.ones(4, 1, 9, 9))


def test_pictures_are_left_as_they_were() -> None:
    given = pictures()
    distorted(given, 0.3, generator())
    assert torch.equal(given, pictures())
