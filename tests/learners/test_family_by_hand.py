"""Meta-SGD, MAML++ and Reptile against a few lines of plain torch: loops over tasks and steps."""

from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from app.episode import Episode, MetaParams, Settings, Tree
from app.learners.learner import NO_NOISE, Learner
from app.learners.mamlpp import step_weights
from app.learners.registry import build_learner
from app.networks.registry import build_network
from app.training.meta_step import meta_gradient
from tests.learners.answers import as_double, close, task_of
from tests.learners.toys import DIMENSIONS, NUMBERS, TOYS

TASKS, STEPS, RATE = 3, 3, 0.05
TOLERANCE = 1e-7
"""In float64 but for the weights of rows: a twelfth is rounded to float32."""
REGRESSION = TOYS[0]
EPISODES = as_double(REGRESSION.sample(torch.Generator().manual_seed(1), TASKS, 0))
NETWORK_LEAVES = [f"body.{i}.{part}" for i in (0, 1) for part in ("weight", "bias")] + ["head.weight", "head.bias"]


@pytest.mark.parametrize("steps", [1, STEPS])
def test_meta_sgd_is_steps_at_rates_of_the_leaves_shapes(steps: int) -> None:
    learner, meta = _learner({"kind": "meta_sgd", "steps": steps})
    trained = _requiring_gradients(meta.trained)
    losses = []
    for episode in _tasks():
        params = _network_of(trained)
        for _ in range(steps):
            gradient = _gradient(_squared(params, *episode.support[:2]), params)
            params = {name: leaf - trained[f"rate.{name}"] * gradient[name] for name, leaf in params.items()}
        losses.append(_squared(params, *episode.query[:2]))
    _same_meta_gradient(learner, meta, torch.stack(losses).mean(), trained, steps, progress=0.5)


@pytest.mark.parametrize(("progress", "weights"), [(0.0, [1 / 3] * 3), (0.25, [1 / 6, 1 / 6, 2 / 3]), (0.5, [0, 0, 1])])
def test_mamlpp_weighs_the_query_after_each_step_at_rates_of_its_own(progress: float, weights: list[float]) -> None:
    learner, meta = _learner({"kind": "mamlpp", "steps": STEPS, "multi_step_share": 0.5})
    trained = _requiring_gradients(meta.trained)
    loss = torch.zeros(()).double()
    for episode in _tasks():
        params = _network_of(trained)
        for step in range(STEPS):
            gradient = _gradient(_squared(params, *episode.support[:2]), params)
            params = {name: leaf - trained[f"rate.{name}"][step] * gradient[name] for name, leaf in params.items()}
            loss = loss + weights[step] * _squared(params, *episode.query[:2]) / TASKS
    _same_meta_gradient(learner, meta, loss, trained, STEPS, progress)


def test_first_order_part_of_mamlpp_is_its_gradient_with_the_inner_ones_held() -> None:
    learner, meta = _learner({"kind": "mamlpp", "steps": STEPS, "multi_step_share": 0.0})
    trained = _requiring_gradients(meta.trained)
    losses = []
    for episode in _tasks():
        params = _network_of(trained)
        for step in range(STEPS):
            gradient = {k: g.detach() for k, g in _gradient(_squared(params, *episode.support[:2]), params).items()}
            params = {name: leaf - trained[f"rate.{name}"][step] * gradient[name] for name, leaf in params.items()}
        losses.append(_squared(params, *episode.query[:2]))
    _same_meta_gradient(learner, meta, torch.stack(losses).mean(), trained, STEPS, 1.0, first_order=True)


@pytest.mark.parametrize("minibatches", [1, 2, 5])
def test_reptile_goes_from_theta_towards_where_sgd_on_minibatches_leads(minibatches: int) -> None:
    learner, meta = _learner({"kind": "reptile", "steps": STEPS, "learning_rate": RATE, "minibatches": minibatches})
    differences = []
    for episode in _tasks():
        inputs = torch.cat([episode.support.inputs, episode.query.inputs])
        targets = torch.cat([episode.support.targets, episode.query.targets])
        leaves = {name: leaf.clone().requires_grad_() for name, leaf in meta.trained.items()}
        sgd = torch.optim.SGD(leaves.values(), lr=RATE)
        for step in range(STEPS):
            part = slice(step % minibatches, None, minibatches)
            for name, slope in _gradient(_squared(leaves, inputs[part], targets[part]), leaves).items():
                leaves[name].grad = slope.detach()
            sgd.step()
        differences.append({name: leaf - leaves[name].detach() for name, leaf in meta.trained.items()})
    expected = {name: torch.stack([each[name] for each in differences]).mean(dim=0) for name in meta.trained}
    gradient, _ = meta_gradient(learner, meta, EPISODES, STEPS, torch.tensor(0.5).double())
    close(gradient, expected, TOLERANCE)


def test_metrics_of_reptile_are_those_of_the_query_after_adapting_to_the_support() -> None:
    learner, meta = _learner({"kind": "reptile", "steps": STEPS})
    episode = task_of(EPISODES, 0)
    settings = Settings(STEPS, torch.ones(()).double())
    _, metrics = learner.meta_loss(meta, episode, settings, NO_NOISE, torch.tensor(0.5))
    task_params, _ = learner.adapt(meta, episode.support, settings, NO_NOISE)
    outputs = learner.predict(meta, task_params, episode.query.inputs)
    close(metrics["loss"], (outputs - episode.query.targets).square().mean(), TOLERANCE)


@pytest.mark.parametrize("num_steps", [1, 4])
@pytest.mark.parametrize("share", [0.0, 0.3, 1.0])
@pytest.mark.parametrize("progress", [0.0, 0.2, 1.0])
def test_weights_of_the_steps_sum_to_one_and_end_on_the_last(num_steps: int, share: float, progress: float) -> None:
    weights = step_weights(num_steps, torch.tensor(progress), share)
    assert weights.shape == (num_steps,)
    assert float(weights.sum()) == pytest.approx(1.0)
    assert float(weights[-1]) == pytest.approx(1.0 if progress >= share else 1 / num_steps, abs=0.9 * (progress > 0))
    assert (weights[:-1] == 0).all() == (progress >= share or num_steps == 1)


def _learner(options: dict[str, Any]) -> tuple[Learner, MetaParams]:
    """Return a learner with an initialisation in float64 whose rates all differ."""
    network = build_network(REGRESSION.network, (DIMENSIONS,), NUMBERS)
    learner = build_learner({"learning_rate": RATE, **options}, network, "squared", 0)
    trained, fixed = as_double(learner.init(torch.Generator().manual_seed(0)))
    generator = torch.Generator().manual_seed(2)
    spread = {
        name: leaf * (0.5 + torch.rand(leaf.shape, generator=generator).double()) if name.startswith("rate.") else leaf
        for name, leaf in trained.items()
    }
    return learner, MetaParams(spread, fixed)


def _tasks() -> list[Episode]:
    return [task_of(EPISODES, i) for i in range(TASKS)]


def _requiring_gradients(tree: Tree) -> Tree:
    return {name: leaf.clone().requires_grad_() for name, leaf in tree.items()}


def _network_of(tree: Tree) -> Tree:
    return {name: tree[name] for name in NETWORK_LEAVES}


def _squared(params: Tree, inputs: Tensor, targets: Tensor) -> Tensor:
    hidden = inputs
    for i in (0, 1):
        hidden = functional.linear(hidden, params[f"body.{i}.weight"], params[f"body.{i}.bias"]).relu()
    return (functional.linear(hidden, params["head.weight"], params["head.bias"]) - targets).square().mean()


def _gradient(loss: Tensor, params: Tree) -> Tree:
    return dict(zip(params, torch.autograd.grad(loss, list(params.values()), create_graph=True), strict=True))


def _same_meta_gradient(
    learner: Learner,
    meta: MetaParams,
    loss: Tensor,
    trained: Tree,
    steps: int,
    progress: float,
    *,
    first_order: bool = False,
) -> None:
    expected = dict(zip(trained, torch.autograd.grad(loss, list(trained.values())), strict=True))
    found, metrics = meta_gradient(
        learner, meta, EPISODES, steps, torch.tensor(progress).double(), first_order=first_order
    )
    close(metrics["meta_loss"], loss.detach(), TOLERANCE)
    close(found, expected, TOLERANCE)
