from typing import Any

import pytest
import torch
from torch import Tensor

from app.networks.network import Network
from app.networks.registry import build_network

SIZE = 6


def test_embedding_is_centred_and_normalised_then_scaled_and_shifted() -> None:
    network, leaves = _built(), _leaves()
    inputs = torch.randn(5, SIZE, generator=torch.Generator().manual_seed(1))
    offsets = inputs - leaves["body.centre"]
    expected = SIZE**0.5 * offsets / offsets.norm(dim=1, keepdim=True) * leaves["body.scale"] + leaves["body.shift"]
    torch.testing.assert_close(network.features(leaves, inputs), expected)


def test_first_features_have_the_direction_of_the_input_and_a_mean_square_of_one() -> None:
    network = _built()
    inputs = torch.nn.functional.normalize(torch.randn(4, SIZE, generator=torch.Generator().manual_seed(2)))
    features = network.features(network.init(torch.Generator().manual_seed(0)), inputs)
    torch.testing.assert_close(features / SIZE**0.5, inputs)
    torch.testing.assert_close(features.square().mean(dim=1), torch.ones(4))


@pytest.mark.parametrize("row", [torch.zeros(SIZE), torch.full((SIZE,), 0.1)], ids=["zeros", "the centre itself"])
@pytest.mark.parametrize("branch", [None, 4])
def test_row_without_a_direction_has_finite_features_and_derivatives(row: Tensor, branch: int | None) -> None:
    network = _built(branch=branch)
    leaves = {**network.init(torch.Generator().manual_seed(0)), "body.centre": row.clone().requires_grad_()}
    inputs = row.expand(2, -1).clone().requires_grad_()
    features = network.features(leaves, inputs)
    gradients = torch.autograd.grad(features.sum(), [leaves["body.centre"], inputs])
    assert not features.any()
    assert all(gradient.isfinite().all() for gradient in gradients)


@pytest.mark.parametrize("share", [0.01, 0.2, 0.9])
def test_branch_is_a_linear_map_of_the_centred_embedding_with_its_share_of_the_squares(share: float) -> None:
    network = _built(branch=4, branch_share=share)
    leaves = network.init(torch.Generator().manual_seed(0))
    leaves |= {name: leaf for name, leaf in _leaves().items() if name == "body.centre"}
    inputs = torch.randn(5, SIZE, generator=torch.Generator().manual_seed(1))
    features = network.features(leaves, inputs)
    assert features.shape == (5, network.num_features) == (5, SIZE + 4)
    squares = features.square()
    torch.testing.assert_close(squares.mean(dim=1), torch.ones(5))
    torch.testing.assert_close(squares[:, SIZE:].sum(dim=1) / squares.sum(dim=1), torch.full((5,), share))
    offsets = inputs - leaves["body.centre"]
    for part, expected in ((features[:, :SIZE], offsets), (features[:, SIZE:], offsets @ leaves["body.branch"].T)):
        normalised = torch.nn.functional.normalize
        torch.testing.assert_close(normalised(part), normalised(expected))


def test_no_size_of_the_branch_gives_it_more_than_its_share() -> None:
    network = _built(branch=4)
    leaves = network.init(torch.Generator().manual_seed(0))
    inputs = torch.randn(5, SIZE, generator=torch.Generator().manual_seed(1))
    larger = {**leaves, "body.branch": 100.0 * leaves["body.branch"]}
    torch.testing.assert_close(network.features(larger, inputs), network.features(leaves, inputs))


def test_parts_of_the_features_are_told_where_there_are_two() -> None:
    assert _built(branch=4).parts == (SIZE, 4)
    assert _built().parts == ()


def test_share_without_a_branch_changes_nothing() -> None:
    inputs = torch.randn(5, SIZE, generator=torch.Generator().manual_seed(1))
    assert torch.equal(_built(branch_share=0.9).features(_leaves(), inputs), _built().features(_leaves(), inputs))


def test_encoder_is_told() -> None:
    assert _built().encoder is None
    assert _built(shape=(384,), encoder="all-MiniLM-L6-v2").encoder == "all-MiniLM-L6-v2"
    assert build_network({"kind": "mlp"}, (384,), 2).encoder is None


@pytest.mark.parametrize("shape", [(2, 3), (1, 28, 28), ()])
def test_only_vectors_are_taken(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"embedding takes vectors \[numbers\]; these inputs have shape \["):
        _built(shape=shape)


def test_embeddings_have_as_many_numbers_as_their_encoder_gives() -> None:
    with pytest.raises(ValueError, match=r"embeddings of all-MiniLM-L6-v2 have 384 numbers; these inputs have 6"):
        _built(encoder="all-MiniLM-L6-v2")


def _built(shape: tuple[int, ...] = (SIZE,), **options: Any) -> Network:
    return build_network({"kind": "embedding", **options}, shape, 3)


def _leaves() -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(3)
    leaves = _built().init(generator)
    return {name: leaf + 0.3 * torch.randn(leaf.shape, generator=generator) for name, leaf in leaves.items()}
