"""UNICORN-MAML and ProtoMAML against a few lines of plain torch, and that the names of classes do not matter."""

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from app.episode import Episode, MetaParams, Support, Tree
from app.learners.head_start import LOG_SCALE, SHARED
from app.learners.learner import Learner
from app.learners.registry import build_learner
from app.networks.registry import build_network
from app.training.meta_step import meta_gradient
from tests.learners.answers import answer, as_double, close, task_of
from tests.learners.toys import DIMENSIONS, TOYS, WAYS

CLASSES = TOYS[1]
TASKS, STEPS, RATE = 2, 3, 0.0625
TOLERANCE = 1e-7
"""In float64 but for the weights of rows, which are rounded to float32."""


@pytest.mark.parametrize("ways", [WAYS, WAYS - 2])
@pytest.mark.parametrize("kind", ["unicorn", "protomaml"])
def test_all_weights_move_from_a_head_that_the_task_is_given(kind: str, ways: int) -> None:
    learner, meta = _learner(kind)
    episodes = _episodes(ways)
    trained = {name: leaf.clone().requires_grad_() for name, leaf in meta.trained.items()}
    losses = []
    for i in range(TASKS):
        support, query, _ = task_of(episodes, i)
        # Copies: the head is made of the body's leaves, and the first inner gradient is not taken through that.
        params = {name: leaf.clone() for name, leaf in trained.items() if name.startswith("body.")}
        params |= _shared_head(trained, ways) if kind == "unicorn" else _means_head(trained, support, ways)
        for _ in range(STEPS):
            loss = functional.cross_entropy(_logits(params, support.inputs), support.targets)
            slopes = torch.autograd.grad(loss, list(params.values()), create_graph=True)
            params = {name: leaf - RATE * slope for (name, leaf), slope in zip(params.items(), slopes, strict=True)}
        losses.append(functional.cross_entropy(_logits(params, query.inputs), query.targets))
    expected = torch.autograd.grad(torch.stack(losses).mean(), list(trained.values()))
    found, _ = meta_gradient(learner, meta, episodes, STEPS, torch.tensor(0.5).double())
    close(found, dict(zip(trained, expected, strict=True)), TOLERANCE)


@pytest.mark.parametrize("kind", ["unicorn", "protomaml"])
def test_classes_under_other_names_get_the_same_logits(kind: str) -> None:
    learner, meta = _learner(kind)
    episode = task_of(_episodes(WAYS), 0)
    new_name = torch.tensor([2, 0, 3, 1])
    renamed = Episode(
        episode.support._replace(targets=new_name[episode.support.targets]),
        episode.query._replace(targets=new_name[episode.query.targets]),
        episode.class_ids,
    )
    found = answer(learner, meta, renamed, STEPS).outputs
    close(found[:, new_name], answer(learner, meta, episode, STEPS).outputs, TOLERANCE)


def test_one_vector_is_all_that_is_learned_of_the_head() -> None:
    _, meta = _learner("unicorn")
    assert {name for name in meta.trained if not name.startswith("body.")} == {SHARED}
    assert meta.trained[SHARED].dim() == 1


def test_no_class_is_likelier_before_the_first_step() -> None:
    learner, meta = _learner("unicorn")
    outputs = answer(learner, meta, task_of(_episodes(WAYS), 0), steps=0).outputs
    close(outputs.softmax(dim=1), torch.full_like(outputs, 1 / WAYS), TOLERANCE)


def _learner(kind: str) -> tuple[Learner, MetaParams]:
    options = {"kind": kind, "steps": STEPS, "learning_rate": RATE}
    learner = build_learner(options, build_network(CLASSES.network, (DIMENSIONS,), 1), "cross_entropy", 0)
    return learner, as_double(learner.init(torch.Generator().manual_seed(0)))


def _episodes(ways: int) -> Episode:
    return as_double(CLASSES.sample(torch.Generator().manual_seed(1), TASKS, ways))


def _features(params: Tree, inputs: Tensor) -> Tensor:
    hidden = inputs
    for i in (0, 1):
        hidden = functional.linear(hidden, params[f"body.{i}.weight"], params[f"body.{i}.bias"]).relu()
    return hidden


def _logits(params: Tree, inputs: Tensor) -> Tensor:
    return functional.linear(_features(params, inputs), params["head.weight"], params["head.bias"])


def _shared_head(leaves: Tree, ways: int) -> Tree:
    bias = torch.zeros(ways).double().requires_grad_()
    return {"head.weight": torch.stack([leaves[SHARED]] * ways), "head.bias": bias}


def _means_head(leaves: Tree, support: Support, ways: int) -> Tree:
    features, scale = _features(leaves, support.inputs), leaves[LOG_SCALE].exp()
    means = torch.stack([features[support.targets == n].mean(dim=0) for n in range(ways)])
    return {"head.weight": 2 * scale * means, "head.bias": -scale * means.square().sum(dim=1)}
