from typing import Any

import pytest
import torch
from torch import Tensor, nn

from app.networks.network import outputs
from app.networks.registry import build_network

FILTERS = [4, 6, 6, 8]
SMALL: dict[str, Any] = {"kind": "resnet12", "filters": FILTERS, "groups": 2, "convolutions": 3}


class Block(nn.Module):
    """A residual block of torch's own modules."""

    def __init__(self, params: dict[str, Tensor], name: str, *, convolutions: int, strided: bool) -> None:
        super().__init__()
        strides = [2 if strided else 1] + [1] * (convolutions - 1)
        self.parts = nn.ModuleList(normed(params, f"{name}.{j}", stride) for j, stride in enumerate(strides))
        self.shortcut = normed(params, f"{name}.shortcut", strides[0])
        self.relu, self.pool = nn.LeakyReLU(0.1), nn.Identity() if strided else nn.MaxPool2d(2)

    def forward(self, maps: Tensor) -> Tensor:
        inner = maps
        for part in self.parts[:-1]:
            inner = self.relu(part(inner))
        found: Tensor = self.pool(self.relu(self.parts[-1](inner) + self.shortcut(maps)))
        return found


def normed(params: dict[str, Tensor], name: str, stride: int) -> nn.Sequential:
    weight = params[f"{name}.conv.weight"]
    to, of, side, _ = weight.shape
    conv = nn.Conv2d(of, to, side, stride=stride, padding=(side - 1) // 2, bias=False)
    norm = nn.GroupNorm(2, to)
    conv.load_state_dict({"weight": weight})
    norm.load_state_dict({part: params[f"{name}.norm.{part}"] for part in ("weight", "bias")})
    return nn.Sequential(conv, norm)


@pytest.mark.parametrize("average", [True, False])
@pytest.mark.parametrize("downsampling", ["pool", "stride"])
@pytest.mark.parametrize("convolutions", [1, 3])
def test_resnet12_is_four_residual_blocks(convolutions: int, downsampling: str, average: bool) -> None:
    options = {**SMALL, "convolutions": convolutions, "downsampling": downsampling, "average": average}
    network = build_network(options, (3, 35, 20), 2)
    params = {name: leaf + 0.1 for name, leaf in network.init(torch.Generator().manual_seed(0)).items()}
    strided = downsampling == "stride"
    blocks = [Block(params, f"body.{i}", convolutions=convolutions, strided=strided) for i in range(4)]
    end = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten()) if average else nn.Flatten()
    inputs = torch.rand(5, 3, 35, 20, generator=torch.Generator().manual_seed(1))
    features = nn.Sequential(*blocks, end)(inputs)
    torch.testing.assert_close(network.features(params, inputs), features, rtol=1e-4, atol=1e-4)
    expected = features @ params["head.weight"].T + params["head.bias"]
    torch.testing.assert_close(outputs(network, params, inputs), expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("downsampling", "size", "left"),
    [
        ("pool", 16, 1),
        ("pool", 31, 1),
        ("pool", 32, 2),
        ("pool", 84, 5),
        ("stride", 1, 1),
        ("stride", 16, 1),
        ("stride", 17, 2),
        ("stride", 84, 6),
    ],
)
def test_number_of_features_is_right_for_every_size(downsampling: str, size: int, left: int) -> None:
    for average, places in ((True, 1), (False, left)):
        network = build_network({**SMALL, "downsampling": downsampling, "average": average}, (1, size, 16), 2)
        params = network.init(torch.Generator().manual_seed(0))
        assert network.features(params, torch.rand(1, 1, size, 16)).shape == (1, network.num_features)
        assert network.num_features == FILTERS[-1] * places


def test_default_is_the_network_as_published() -> None:
    network = build_network({"kind": "resnet12"}, (3, 84, 84), 5)
    leaves = network.init(torch.Generator().manual_seed(0))
    convolutions = [leaf for name, leaf in leaves.items() if name.endswith("conv.weight") and "shortcut" not in name]
    assert len(convolutions) == 12
    assert [leaf.shape[0] for leaf in convolutions[::3]] == [64, 160, 320, 640]
    assert network.num_features == 640


@pytest.mark.parametrize("shape", [(4,), (28, 28), (1, 1, 28, 28), ()])
def test_only_pictures_are_taken(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"resnet12 takes pictures \[channels, height, width\]; these .* shape \["):
        build_network(SMALL, shape, 2)


@pytest.mark.parametrize(
    ("changes", "size", "message"),
    [
        ({"filters": [8, 8, 9, 8]}, 28, r"filters \[8, 8, 9, 8\] must all be multiples of groups \(2\)"),
        ({}, 15, "pictures of 15 x 28 cannot be halved 4 times; use downsampling 'stride'"),
        ({"groups": 8, "filters": [8] * 4, "downsampling": "stride"}, 1, None),
        ({"groups": 8, "filters": [8] * 4, "downsampling": "stride"}, 28, None),
    ],
    ids=["groups", "too small to be halved", "two places are left", "four places are left"],
)
def test_what_does_not_fit_is_refused_and_why(changes: dict[str, Any], size: int, message: str | None) -> None:
    if message is None:
        network = build_network({**SMALL, **changes}, (1, size, 28), 2)
        features = network.features(network.init(torch.Generator().manual_seed(0)), torch.rand(1, 1, size, 28))
        assert features.isfinite().all()
        return
    with pytest.raises(ValueError, match=message):
        build_network({**SMALL, **changes}, (1, size, 28), 2)


@pytest.mark.parametrize("filters", [[8, 16, 16, 8], [8] * 4])
def test_groups_of_one_value_are_refused_for_they_would_leave_nothing_of_a_picture(filters: list[int]) -> None:
    alone = {**SMALL, "filters": filters, "groups": 8}
    with pytest.raises(ValueError, match="8 filters in 8 groups leave a norm one value a group"):
        build_network({**alone, "downsampling": "stride"}, (1, 16, 16), 2)
    network = build_network(alone, (1, 16, 16), 2)  # pooling comes after the last norm
    params = network.init(torch.Generator().manual_seed(0))
    assert network.features(params, torch.rand(1, 1, 16, 16)).abs().max() > 0.1


def test_dark_on_light_and_light_on_dark_are_the_same_picture_where_the_rare_tone_is_ink() -> None:
    pictures = torch.rand(6, 1, 16, 16, generator=torch.Generator().manual_seed(0)).pow(3)
    either, as_it_is = {**SMALL, "rare_tone_is_ink": True}, SMALL
    torch.testing.assert_close(_features(either, 1 - pictures), _features(either, pictures))
    torch.testing.assert_close(_features(as_it_is, pictures), _features(either, pictures))
    assert not torch.allclose(_features(as_it_is, 1 - pictures), _features(as_it_is, pictures))
    polarities = [build_network(options, (1, 16, 16), 2).polarity for options in (as_it_is, either)]
    assert polarities == [None, "either: the rarer tone of a picture is taken as ink"]


def _features(options: dict[str, Any], pictures: Tensor) -> Tensor:
    network = build_network(options, (1, 16, 16), 2)
    return network.features(network.init(torch.Generator().manual_seed(0)), pictures)
