"""MAML on a linear model, against gradients worked out by hand.

With rows x, a column of ones beside them (X), parameters p = (w, b) and the mean squared error, the gradient is
g(p) = 2/S X^T (X p - y) and its derivative H = 2/S X^T X, so that one inner step and its meta-gradient are

    p' = p - a g_support(p)
    d loss_query(p') / dp = (I - a H) g_query(p')
    d loss_query(p') / da = -g_support(p) . g_query(p')
"""

from typing import Any

import pytest
import torch
from torch import Tensor

from app.episode import Episode, MetaParams, Query, Settings, Support, Tree
from app.learners.learner import NO_NOISE, Learner
from app.learners.registry import build_learner
from app.networks.network import Network
from app.training.meta_step import meta_gradient
from tests.learners.answers import close, mapped

FEATURES, ROWS, RATE = 3, 6, 0.05
KINDS = ("maml", "anil")  # one and the same where there is no body


@pytest.mark.parametrize("kind", KINDS)
def test_one_inner_step_is_that_by_hand(kind: str) -> None:
    learner, meta, episode = _learner(kind), _meta(), _episode()
    task_params, trace = learner.adapt(meta, episode.support, Settings(1, torch.tensor(1.0)), NO_NOISE)
    start = _flat(meta.trained)
    moved = start - RATE * _gradient(start, episode.support)
    close(_flat(task_params), moved)
    close(trace.support_loss, torch.stack([_loss(start, episode.support), _loss(moved, episode.support)]))


@pytest.mark.parametrize("kind", KINDS)
def test_two_inner_steps_are_those_by_hand(kind: str) -> None:
    learner, meta, episode = _learner(kind), _meta(), _episode()
    task_params, _ = learner.adapt(meta, episode.support, Settings(2, torch.tensor(1.0)), NO_NOISE)
    once = _flat(meta.trained) - RATE * _gradient(_flat(meta.trained), episode.support)
    close(_flat(task_params), once - RATE * _gradient(once, episode.support))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("first_order", [False, True])
def test_meta_gradient_is_that_by_hand(kind: str, first_order: bool) -> None:
    meta, episode = _meta(), _episode()
    start = _flat(meta.trained)
    moved = start - RATE * _gradient(start, episode.support)
    hessian = 2 / ROWS * _design(episode.support.inputs).T @ _design(episode.support.inputs)
    factor = torch.eye(FEATURES + 1) - (0 if first_order else RATE) * hessian
    gradient, metrics = _meta_gradient(_learner(kind, first_order=first_order), meta, episode)
    close(_flat(gradient), factor @ _gradient(moved, episode.query))
    close(metrics["meta_loss"], _loss(moved, episode.query))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("first_order", [False, True])
def test_gradient_of_a_learned_rate_is_that_by_hand(kind: str, first_order: bool) -> None:
    episode = _episode()
    learner = _learner(kind, rates="per_tensor", first_order=first_order)
    rates = {f"rate.head.{part}": torch.tensor(RATE) for part in ("weight", "bias")}
    meta = MetaParams({**_meta().trained, **rates}, {})
    start = _flat(meta.trained)
    inner = _gradient(start, episode.support)
    product = -inner * _gradient(start - RATE * inner, episode.query)
    gradient, _ = _meta_gradient(learner, meta, episode)
    close(gradient["rate.head.weight"], product[:-1].sum())
    close(gradient["rate.head.bias"], product[-1])


def _learner(kind: str, **options: Any) -> Learner:
    def init(generator: torch.Generator) -> Tree:
        return {"head.weight": torch.randn(1, FEATURES, generator=generator), "head.bias": torch.zeros(1)}

    network = Network(init, lambda params, inputs: inputs, (FEATURES,), FEATURES, 1)
    return build_learner({"kind": kind, "learning_rate": RATE, **options}, network, "squared", 0)


def _meta() -> MetaParams:
    return _learner("maml").init(torch.Generator().manual_seed(0))


def _episode() -> Episode:
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(2, ROWS, FEATURES, generator=generator)
    y = torch.randn(2, ROWS, 1, generator=generator)
    mask, none = torch.ones(ROWS, dtype=torch.bool), torch.zeros(0)
    return Episode(Support(x[0], y[0], mask, none.bool()), Query(x[1], y[1], mask), none.long())


def _meta_gradient(learner: Learner, meta: MetaParams, episode: Episode) -> tuple[Tree, Tree]:
    return meta_gradient(learner, meta, mapped(lambda leaf: leaf[None], episode), 1, torch.tensor(0.0))


def _design(inputs: Tensor) -> Tensor:
    return torch.cat([inputs, torch.ones(len(inputs), 1)], dim=1)


def _flat(params: Tree) -> Tensor:
    return torch.cat([params["head.weight"].flatten(), params["head.bias"]])


def _loss(p: Tensor, rows: Support | Query) -> Tensor:
    return (_design(rows.inputs) @ p - rows.targets[:, 0]).square().mean()


def _gradient(p: Tensor, rows: Support | Query) -> Tensor:
    design = _design(rows.inputs)
    return 2 / len(design) * design.T @ (design @ p - rows.targets[:, 0])
