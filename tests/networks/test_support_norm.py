from typing import Any

import pytest
import torch
from torch import Tensor, nn

from app.episode import Tree
from app.networks.network import Network, Statistics
from app.networks.registry import build_network
from app.networks.support_norm import initial_prior, support_moments, support_normed
from app.trees import merge

ROWS, CHANNELS = 6, 3
SMALL = {"kind": "conv4", "filters": 8, "norm": "support"}
PICTURE = (1, 16, 16)


def test_moments_of_a_support_that_outweighs_the_prior_are_its_own_by_channel() -> None:
    maps = _maps() * 2 + 1
    params = {**_prior(), "prior.0.log_rows": torch.tensor(-30.0)}
    found = support_moments(params, 0, maps, _all_count())
    torch.testing.assert_close(found["norm.0.mean"], maps.mean(dim=(0, 2, 3)))
    torch.testing.assert_close(found["norm.0.variance"], maps.var(dim=(0, 2, 3), unbiased=False))


def test_prior_weighs_as_much_as_so_many_rows_of_its_mean_and_variance() -> None:
    """Four more rows, half of them one deviation above the prior's mean and half below."""
    maps, params = _maps(), _prior()
    mean, deviation = params["prior.0.mean"], (params["prior.0.log_variance"] / 2).exp()
    halves = [(mean + sign * deviation)[None, :, None, None].expand(2, -1, 5, 4) for sign in (1, -1)]
    expected = torch.cat([maps, *halves])
    found = support_moments({**params, "prior.0.log_rows": torch.tensor(4.0).log()}, 0, maps, _all_count())
    torch.testing.assert_close(found["norm.0.mean"], expected.mean(dim=(0, 2, 3)))
    torch.testing.assert_close(found["norm.0.variance"], expected.var(dim=(0, 2, 3), unbiased=False))


def test_rows_that_do_not_count_have_no_say_whatever_they_hold() -> None:
    maps, count = _maps(), torch.tensor([True, True, False, True, False, True])
    spoiled = torch.where(count[:, None, None, None], maps, torch.nan)
    expected = support_moments(_prior(), 0, maps[count], torch.ones(4).bool())
    found = support_moments(_prior(), 0, spoiled, count)
    torch.testing.assert_close(found, expected)


def test_support_without_rows_leaves_the_prior() -> None:
    found, params = support_moments(_prior(), 0, _maps(), ~_all_count()), _prior()
    torch.testing.assert_close(found["norm.0.mean"], params["prior.0.mean"])
    torch.testing.assert_close(found["norm.0.variance"], params["prior.0.log_variance"].exp())


@pytest.mark.parametrize("rows", [1, 5])
@pytest.mark.parametrize("tone", [0.0, 1.0])
def test_equal_rows_of_one_tone_have_finite_features_and_derivatives(rows: int, tone: float) -> None:
    network, params = _built()
    params = {name: leaf.requires_grad_() for name, leaf in params.items()}
    inputs = torch.full((rows, *PICTURE), tone)
    norms = _statistics(network).of_support(params, inputs, torch.ones(rows).bool())
    features = network.features(merge(params, norms), inputs)
    gradients = torch.autograd.grad(features.square().sum(), list(params.values()), allow_unused=True)
    assert features.isfinite().all()
    assert all(gradient is None or gradient.isfinite().all() for gradient in gradients)


def test_features_of_a_large_support_are_those_of_batch_norm_over_it() -> None:
    network, params = _built()
    inputs = torch.rand(200, *PICTURE, generator=torch.Generator().manual_seed(1))
    params = {name: leaf - 30.0 if name.endswith("log_rows") else leaf for name, leaf in params.items()}
    blocks: list[nn.Module] = []
    for i in range(4):
        conv = nn.Conv2d(8 if i else 1, 8, 3, stride=2, padding=1, bias=False)
        conv.load_state_dict({"weight": params[f"body.{i}.conv.weight"]})
        blocks += [conv, nn.BatchNorm2d(8), nn.ReLU()]
    norms = _statistics(network).of_support(params, inputs, torch.ones(200).bool())
    expected = nn.Sequential(*blocks, nn.Flatten())(inputs)
    torch.testing.assert_close(network.features(merge(params, norms), inputs), expected, rtol=1e-4, atol=1e-4)


def test_task_of_brighter_pictures_has_the_same_features() -> None:
    """What a norm by the support is for; the prior, of one tone for all tasks, keeps it from being exact."""
    network, params = _built()
    params = {name: leaf - 30.0 if name.endswith("log_rows") else leaf for name, leaf in params.items()}
    support, query = torch.rand(2, 10, *PICTURE, generator=torch.Generator().manual_seed(1))
    features = []
    for gain in (1.0, 30.0):
        norms = _statistics(network).of_support(params, gain * support, torch.ones(10).bool())
        features.append(network.features(merge(params, norms), gain * query))
    torch.testing.assert_close(features[1], features[0], rtol=0, atol=2e-3)


def test_each_row_is_normed_by_itself() -> None:
    params = merge(_prior(), support_moments(_prior(), 0, _maps(), _all_count()))
    other = _maps() * 3
    together = support_normed(params, 0, other)
    torch.testing.assert_close(support_normed(params, 0, other[2:3])[0], together[2])


def test_groups_are_left_alone_and_no_statistics_asked_for_unless_named() -> None:
    assert build_network({"kind": "conv4", "filters": 10, "groups": 4, "norm": "support"}, PICTURE, 2).statistics
    assert build_network({"kind": "conv4", "filters": 16}, PICTURE, 2).statistics is None


def _built(**options: Any) -> tuple[Network, Tree]:
    network = build_network({**SMALL, **options}, PICTURE, 2)
    return network, merge(network.init(torch.Generator().manual_seed(0)), _statistics(network).init())


def _statistics(network: Network) -> Statistics:
    assert network.statistics is not None
    return network.statistics


def _maps() -> Tensor:
    return torch.randn(ROWS, CHANNELS, 5, 4, generator=torch.Generator().manual_seed(0))


def _all_count() -> Tensor:
    return torch.ones(ROWS).bool()


def _prior() -> Tree:
    generator = torch.Generator().manual_seed(2)
    return {
        name: 0.5 * torch.randn(leaf.shape, generator=generator) for name, leaf in initial_prior(0, CHANNELS).items()
    }
