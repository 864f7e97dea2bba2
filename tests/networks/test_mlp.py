import torch
from torch import nn

from app.networks.network import outputs
from app.networks.registry import build_network


def test_mlp_is_linear_maps_with_relu_between_them() -> None:
    network = build_network({"kind": "mlp", "hidden": [7, 6]}, (4,), 2)
    params = network.init(torch.Generator().manual_seed(0))
    params = {name: leaf + 0.1 for name, leaf in params.items()}
    layers = nn.Sequential(nn.Linear(4, 7), nn.ReLU(), nn.Linear(7, 6), nn.ReLU(), nn.Linear(6, 2))
    names = ["0.weight", "0.bias", "2.weight", "2.bias", "4.weight", "4.bias"]
    layers.load_state_dict(dict(zip(names, params.values(), strict=True)))
    inputs = torch.randn(5, 4, generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(outputs(network, params, inputs), layers(inputs))


def test_default_is_the_network_of_the_sinusoid_experiment() -> None:
    network = build_network({"kind": "mlp"}, (1,), 1)
    shapes = [tuple(leaf.shape) for leaf in network.init(torch.Generator()).values()]
    assert shapes == [(40, 1), (40,), (40, 40), (40,), (1, 40), (1,)]
