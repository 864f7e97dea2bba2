from typing import Any

import pytest
import torch
from torch import nn

from app.networks.network import outputs
from app.networks.registry import build_network

SMALL = {"kind": "conv4", "filters": 8, "groups": 2}


def test_conv4_is_four_strided_convolutions_with_group_norm() -> None:
    network = build_network(SMALL, (1, 28, 28), 3)
    params = network.init(torch.Generator().manual_seed(0))
    params = {name: leaf + 0.1 for name, leaf in params.items()}
    blocks: list[nn.Module] = []
    for i in range(4):
        conv, norm = nn.Conv2d(8 if i else 1, 8, 3, stride=2, padding=1, bias=False), nn.GroupNorm(2, 8)
        conv.load_state_dict({"weight": params[f"body.{i}.conv.weight"]})
        norm.load_state_dict({part: params[f"body.{i}.norm.{part}"] for part in ("weight", "bias")})
        blocks += [conv, norm, nn.ReLU()]
    linear = nn.Linear(32, 3)
    linear.load_state_dict({part: params[f"head.{part}"] for part in ("weight", "bias")})
    inputs = torch.rand(5, 1, 28, 28, generator=torch.Generator().manual_seed(1))
    expected = nn.Sequential(*blocks, nn.Flatten(), linear)(inputs)
    torch.testing.assert_close(outputs(network, params, inputs), expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(("size", "left"), [(1, 1), (2, 1), (15, 1), (16, 1), (17, 2), (28, 2), (33, 3), (84, 6)])
def test_number_of_features_is_right_for_every_size(size: int, left: int) -> None:
    network = build_network(SMALL, (1, size, 16), 2)
    assert network.num_features == 8 * left
    params = network.init(torch.Generator().manual_seed(0))
    assert network.features(params, torch.rand(1, 1, size, 16)).shape == (1, 8 * left)


@pytest.mark.parametrize("shape", [(4,), (28, 28), (1, 1, 28, 28), ()])
def test_only_pictures_are_taken(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"conv4 takes pictures \[channels, height, width\]; these .* shape \["):
        build_network(SMALL, shape, 2)


def test_groups_have_to_divide_the_filters() -> None:
    with pytest.raises(ValueError, match=r"filters \(10\) must be a multiple of groups \(4\)"):
        build_network({"kind": "conv4", "filters": 10, "groups": 4}, (1, 28, 28), 2)


def test_groups_of_one_value_are_refused_for_they_would_leave_nothing_of_a_picture() -> None:
    alone = {"kind": "conv4", "filters": 8, "groups": 8}
    with pytest.raises(ValueError, match="8 filters in 8 groups leave a norm one value a group"):
        build_network(alone, (1, 16, 16), 2)
    assert build_network(alone, (1, 17, 16), 2).num_features == 16
    assert build_network({**alone, "norm": "support"}, (1, 16, 16), 2).num_features == 8


def test_dark_on_light_and_light_on_dark_are_the_same_picture_where_the_rare_tone_is_ink() -> None:
    pictures = torch.rand(6, 1, 16, 16, generator=torch.Generator().manual_seed(0)).pow(3)
    indifferent = _features({**SMALL, "rare_tone_is_ink": True}, pictures)
    torch.testing.assert_close(_features({**SMALL, "rare_tone_is_ink": True}, 1 - pictures), indifferent)
    assert not torch.allclose(_features(SMALL, 1 - pictures), _features(SMALL, pictures))
    torch.testing.assert_close(_features(SMALL, pictures), indifferent)


def test_polarity_is_told_where_both_are_taken() -> None:
    assert build_network(SMALL, (1, 16, 16), 2).polarity is None
    polarity = build_network({**SMALL, "rare_tone_is_ink": True}, (1, 16, 16), 2).polarity
    assert polarity == "either: the rarer tone of a picture is taken as ink"


def _features(options: dict[str, Any], pictures: torch.Tensor) -> torch.Tensor:
    network = build_network(options, (1, 16, 16), 2)
    return network.features(network.init(torch.Generator().manual_seed(0)), pictures)
