import pytest
import torch
from pydantic import ValidationError
from torch import Tensor, nn

from app.episode import Tree
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


@pytest.mark.parametrize(
    ("name", "layer"), [("relu", nn.ReLU()), ("tanh", nn.Tanh()), ("silu", nn.SiLU())], ids=lambda value: str(value)
)
def test_activation_is_that_of_every_layer(name: str, layer: nn.Module) -> None:
    network = build_network({"kind": "mlp", "hidden": [7, 6], "activation": name}, (4,), 2)
    params = network.init(torch.Generator().manual_seed(0))
    inputs = torch.randn(5, 4, generator=torch.Generator().manual_seed(1))
    hidden = inputs
    for i in range(2):
        hidden = layer(nn.functional.linear(hidden, params[f"body.{i}.weight"], params[f"body.{i}.bias"]))
    torch.testing.assert_close(network.features(params, inputs), hidden)


def test_default_is_the_network_of_the_sinusoid_experiment() -> None:
    network = build_network({"kind": "mlp"}, (1,), 1)
    shapes = [tuple(leaf.shape) for leaf in network.init(torch.Generator()).values()]
    assert shapes == [(40, 1), (40,), (40, 40), (40,), (1, 40), (1,)]


def test_norm_is_that_of_each_rows_features_before_the_relu() -> None:
    network = build_network({"kind": "mlp", "hidden": [7], "norm": "layer"}, (4,), 2)
    params = {name: leaf + 0.1 for name, leaf in network.init(torch.Generator().manual_seed(0)).items()}
    layers = nn.Sequential(nn.Linear(4, 7), nn.LayerNorm(7), nn.ReLU(), nn.Linear(7, 2))
    names = ["0.weight", "0.bias", "1.weight", "1.bias", "3.weight", "3.bias"]
    layers.load_state_dict(dict(zip(names, params.values(), strict=True)))
    inputs = torch.randn(5, 4, generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(outputs(network, params, inputs), layers(inputs))


def test_second_derivative_of_the_norm_under_vmap_is_that_of_the_loop() -> None:
    """It is not with torch's layer_norm (2.13)."""
    network = build_network({"kind": "mlp", "hidden": [7], "norm": "layer"}, (4,), 2)
    params = {name: leaf.double() for name, leaf in network.init(torch.Generator().manual_seed(0)).items()}
    inputs_T = torch.randn(3, 5, 4, generator=torch.Generator().manual_seed(1)).double()

    def after_two_steps(params: Tree, inputs: Tensor) -> Tensor:
        def loss(params: Tree) -> Tensor:
            return outputs(network, params, inputs).square().sum()

        for _ in range(2):
            gradient = torch.func.grad(loss)(params)
            params = {name: leaf - 0.01 * gradient[name] for name, leaf in params.items()}
        return loss(params)

    leaves = [leaf.requires_grad_() for leaf in params.values()]
    together = torch.autograd.grad(torch.vmap(after_two_steps, in_dims=(None, 0))(params, inputs_T).sum(), leaves)
    alone = torch.autograd.grad(torch.stack([after_two_steps(params, inputs) for inputs in inputs_T]).sum(), leaves)
    torch.testing.assert_close(together, alone)


def test_norms_are_left_out_unless_asked_for() -> None:
    plain, none = ({"kind": "mlp", "hidden": [3]}, {"kind": "mlp", "hidden": [3], "norm": "none"})
    names = [list(build_network(options, (2,), 1).init(torch.Generator())) for options in (plain, none)]
    assert names[0] == names[1] == ["body.0.weight", "body.0.bias", "head.weight", "head.bias"]
    with pytest.raises(ValidationError):
        build_network({"kind": "mlp", "norm": "batch"}, (2,), 1)


@pytest.mark.parametrize("hidden", [[1], [8, 1]])
def test_norm_over_one_number_is_refused_for_it_would_leave_nothing(hidden: list[int]) -> None:
    with pytest.raises(ValueError, match="norm 'layer' of a layer of one number is always 0"):
        build_network({"kind": "mlp", "hidden": hidden, "norm": "layer"}, (4,), 2)
    assert build_network({"kind": "mlp", "hidden": hidden}, (4,), 2).num_features == 1
