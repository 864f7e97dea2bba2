from typing import Any

import pytest
import torch
from pydantic import ValidationError

from app.networks.network import leaf_kinds
from app.networks.registry import NETWORKS, build_network


def test_unknown_kind_is_refused_with_the_known_ones() -> None:
    with pytest.raises(ValueError, match=r"network kind 'resnet' is not one of \['conv4', 'embedding', 'mlp'"):
        build_network({"kind": "resnet"}, (1,), 1)


def test_missing_kind_is_refused() -> None:
    with pytest.raises(ValueError, match="network kind '' is not one of"):
        build_network({}, (1,), 1)


@pytest.mark.parametrize(
    "options",
    [
        *({"kind": kind, "unheard_of": 1} for kind in NETWORKS),
        {"kind": "mlp", "hidden": []},
        {"kind": "mlp", "hidden": [0]},
        {"kind": "mlp", "hidden": [4097]},
        {"kind": "mlp", "hidden": [40] * 17},
        {"kind": "mlp", "hidden": [40.5]},
        {"kind": "mlp", "hidden": ["40"]},
        {"kind": "mlp", "hidden": 40},
        {"kind": "embedding", "encoder": "all-mpnet-base-v2"},
        {"kind": "mlp", "activation": "gelu"},
        {"kind": "embedding", "branch": 0},
        {"kind": "embedding", "branch": 4097},
        {"kind": "embedding", "branch": 8, "branch_share": 0},
        {"kind": "embedding", "branch": 8, "branch_share": 1},
        {"kind": "embedding", "branch": 8, "branch_share": float("nan")},
        {"kind": "resnet12", "filters": [8, 8, 8]},
        {"kind": "resnet12", "filters": [8] * 5},
        {"kind": "resnet12", "filters": [8, 8, 8, 0]},
        {"kind": "resnet12", "filters": [8, 8, 8, 1025]},
        {"kind": "resnet12", "filters": 64},
        {"kind": "resnet12", "convolutions": 0},
        {"kind": "resnet12", "convolutions": 5},
        {"kind": "resnet12", "groups": 65},
        {"kind": "resnet12", "downsampling": "average"},
        {"kind": "resnet12", "average": 1},
        {"kind": "conv4", "filters": 0},
        {"kind": "conv4", "filters": 513},
        {"kind": "conv4", "groups": 0},
        {"kind": "conv4", "rare_tone_is_ink": 1},
    ],
    ids=str,
)
def test_wrong_options_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        build_network(options, (1, 28, 28), 1)


def test_shapes_of_the_largest_network_take_no_memory() -> None:
    network = build_network({"kind": "mlp", "hidden": [4096] * 16}, (4096,), 1)
    assert leaf_kinds(network.init)["body.15.weight"] == ((4096, 4096), torch.float32)
