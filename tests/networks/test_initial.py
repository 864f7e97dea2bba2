import math

import pytest
import torch

from app.networks.initial import kaiming_uniform


@pytest.mark.parametrize(("shape", "fan_in"), [((400, 50), 50), ((64, 16, 3, 3), 144), ((5000, 1), 1)])
@pytest.mark.parametrize("gain", [1.0, 2.0])
def test_variance_is_the_gain_over_the_fan_in(shape: tuple[int, ...], fan_in: int, gain: float) -> None:
    weights = kaiming_uniform(torch.Generator().manual_seed(0), shape, gain)
    assert weights.shape == shape
    assert float(weights.abs().max()) <= math.sqrt(3 * gain / fan_in)
    assert float(weights.var()) == pytest.approx(gain / fan_in, rel=0.05)
    assert float(weights.mean()) == pytest.approx(0.0, abs=0.05 * math.sqrt(gain / fan_in))


def test_relu_is_what_the_default_is_for() -> None:
    one, other = (torch.Generator().manual_seed(0) for _ in range(2))
    assert torch.equal(kaiming_uniform(one, (3, 4)), kaiming_uniform(other, (3, 4), gain=2.0))
