"""What every network keeps to, whatever its kind; a new one is one more row of the table."""

from dataclasses import dataclass
from typing import Any

import pytest
import torch
from torch import Tensor

from app.networks.network import Network, leaf_kinds, outputs
from app.networks.registry import build_network
from app.trees import stack

ROWS, OUTPUTS = 5, 3


@dataclass(frozen=True)
class Case:
    name: str
    options: dict[str, Any]
    input_shape: tuple[int, ...]

    def network(self) -> Network:
        return build_network(self.options, self.input_shape, OUTPUTS)

    def leaves(self, seed: int = 0) -> dict[str, Tensor]:
        """Return all that is learned: the leaves of the network, and what its statistics start from."""
        network = self.network()
        return {**params_of(network, seed), **(network.statistics.init() if network.statistics else {})}

    def seeing(self, leaves: dict[str, Tensor]) -> dict[str, Tensor]:
        """Return the leaves with the statistics of a support, where the network asks for them."""
        statistics, support = self.network().statistics, 0.9 * self.inputs().to(leaves["head.weight"].dtype)
        return {**leaves, **statistics.of_support(leaves, support, torch.ones(ROWS).bool())} if statistics else leaves

    def whole(self, seed: int = 0) -> dict[str, Tensor]:
        return self.seeing(self.leaves(seed))

    def inputs(self) -> Tensor:
        return torch.rand(ROWS, *self.input_shape, generator=torch.Generator().manual_seed(1))


RESNET12 = {"kind": "resnet12", "filters": [4, 6, 6, 8], "groups": 2, "convolutions": 2}
CASES = [
    Case("mlp", {"kind": "mlp"}, (4,)),
    Case("mlp on one number", {"kind": "mlp", "hidden": [7]}, (1,)),
    Case("mlp on pictures", {"kind": "mlp", "hidden": [6, 5, 4]}, (3, 4, 5)),
    Case("mlp with norms", {"kind": "mlp", "hidden": [6, 5], "norm": "layer"}, (4,)),
    Case("embedding", {"kind": "embedding"}, (6,)),
    Case("mlp with tanh", {"kind": "mlp", "hidden": [6, 5], "activation": "tanh"}, (4,)),
    Case("mlp with silu and norms", {"kind": "mlp", "hidden": [6, 5], "activation": "silu", "norm": "layer"}, (4,)),
    Case("embedding with a branch", {"kind": "embedding", "branch": 5, "branch_share": 0.3}, (6,)),
    Case("embedding of sentences", {"kind": "embedding", "encoder": "all-MiniLM-L6-v2"}, (384,)),
    Case("conv4", {"kind": "conv4", "filters": 8, "groups": 2}, (1, 28, 28)),
    Case("conv4 in colour, not square", {"kind": "conv4", "filters": 6, "groups": 3}, (3, 17, 9)),
    Case("conv4 with the norm of a support", {"kind": "conv4", "filters": 8, "norm": "support"}, (3, 17, 9)),
    Case("conv4 either polarity", {"kind": "conv4", "filters": 8, "groups": 1, "rare_tone_is_ink": True}, (1, 16, 16)),
    Case("resnet12", {**RESNET12, "convolutions": 3}, (1, 16, 16)),
    Case("resnet12 in colour, not square", {**RESNET12, "average": False}, (3, 33, 17)),
    Case("resnet12 with strides", {**RESNET12, "downsampling": "stride", "average": False}, (1, 17, 9)),
    Case("resnet12 either polarity", {**RESNET12, "downsampling": "stride", "rare_tone_is_ink": True}, (1, 16, 16)),
]
every_network = pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)


def params_of(network: Network, seed: int = 0) -> dict[str, Tensor]:
    return network.init(torch.Generator().manual_seed(seed))


@every_network
def test_leaves_are_a_body_and_a_linear_head(case: Case) -> None:
    network = case.network()
    params = params_of(network)
    assert all(name.startswith("body.") for name in params if name not in ("head.weight", "head.bias"))
    assert params["head.weight"].shape == (OUTPUTS, network.num_features)
    assert params["head.bias"].shape == (OUTPUTS,)


@every_network
def test_outputs_are_the_head_over_the_features(case: Case) -> None:
    network = case.network()
    params = case.whole()
    features = network.features(params, case.inputs())
    assert features.shape == (ROWS, network.num_features)
    expected = features @ params["head.weight"].T + params["head.bias"]
    torch.testing.assert_close(outputs(network, params, case.inputs()), expected)


@every_network
def test_record_tells_what_goes_in_and_what_comes_out(case: Case) -> None:
    network = case.network()
    assert (network.input_shape, network.num_outputs) == (case.input_shape, OUTPUTS)


@every_network
def test_initial_leaves_depend_on_the_generator_alone(case: Case) -> None:
    network = case.network()
    one, again, other = params_of(network), params_of(network), params_of(network, seed=1)
    assert all(torch.equal(one[name], again[name]) for name in one)
    assert not torch.equal(one["head.weight"], other["head.weight"])


@every_network
def test_shapes_are_known_without_making_the_leaves(case: Case) -> None:
    network = case.network()
    made = {name: (tuple(leaf.shape), leaf.dtype) for name, leaf in params_of(network).items()}
    assert leaf_kinds(network.init) == made


@every_network
def test_no_row_depends_on_its_neighbours(case: Case) -> None:
    network = case.network()
    params, inputs = case.whole(), case.inputs()
    expected = outputs(network, params, inputs)
    poisoned = torch.full_like(inputs, torch.nan)
    poisoned[2] = inputs[2]
    assert torch.equal(outputs(network, params, poisoned)[2], expected[2])
    torch.testing.assert_close(outputs(network, params, inputs[2:3])[0], expected[2])


@every_network
def test_weight_set_a_task_gives_what_each_gives_alone(case: Case) -> None:
    network = case.network()
    sets = [case.whole(seed) for seed in range(3)]
    inputs = case.inputs()
    together = torch.vmap(lambda params: outputs(network, params, inputs))(stack(sets))
    expected = torch.stack([outputs(network, params, inputs) for params in sets])
    torch.testing.assert_close(together, expected, rtol=1e-5, atol=1e-5)


@every_network
def test_double_precision_goes_through(case: Case) -> None:
    network = case.network()
    params = {name: leaf.double() for name, leaf in case.whole().items()}
    found = outputs(network, params, case.inputs().double())
    assert found.dtype == torch.float64
    torch.testing.assert_close(found.float(), outputs(network, case.whole(), case.inputs()))


@every_network
def test_arguments_are_left_as_they_were(case: Case) -> None:
    network = case.network()
    params, inputs = case.whole(), case.inputs()
    outputs(network, params, inputs)
    assert torch.equal(inputs, case.inputs())
    assert all(torch.equal(leaf, case.whole()[name]) for name, leaf in params.items())


@every_network
def test_each_leaf_and_each_input_has_a_say(case: Case) -> None:
    """A leaf that is made and not used would be trained and stored for nothing."""
    network = case.network()
    params = {name: leaf.requires_grad_() for name, leaf in case.leaves().items()}
    inputs = case.inputs().requires_grad_()
    gradients = torch.autograd.grad(
        outputs(network, case.seeing(params), inputs).square().sum(), [*params.values(), inputs]
    )
    assert all(gradient.any() for gradient in gradients)
