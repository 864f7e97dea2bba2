import pytest
import torch
from torch import Tensor

from app.episode import Episode, MetaParams, Query, Settings, Support, Tree
from app.learners.learner import Learner, Metrics
from app.learners.registry import build_learner
from app.networks.registry import build_network
from app.training.meta_step import meta_gradient, part_gradient
from app.training.portions import cached_size
from tests.training.small_runs import SINUSOIDS, sinusoid_learner

EPISODES = SINUSOIDS.sample(torch.Generator().manual_seed(1), 5)


def learner_of_progress() -> Learner:
    """Return a learner whose meta-loss is 3 x progress + 2 x scale + steps, x a leaf, and that has another leaf."""

    def meta_loss(
        meta: MetaParams, episode: Episode, settings: Settings, noise: Tree, progress: Tensor
    ) -> tuple[Tensor, Metrics]:
        x = meta.trained["x"]
        return 3 * x * progress + 2 * x * settings.rate_scale + settings.steps, {"x": x + 0 * progress}

    def init(generator: torch.Generator) -> MetaParams:
        return MetaParams({"x": torch.tensor(5.0), "unreached": torch.ones(2, 3)}, {})

    return sinusoid_learner()._replace(init=init, meta_loss=meta_loss)


@pytest.mark.parametrize("progress", [0.0, 0.25, 1.0])
def test_meta_loss_is_given_steps_progress_and_a_scale_of_one(progress: float) -> None:
    learner = learner_of_progress()
    gradient, metrics = meta_gradient(learner, learner.init(torch.Generator()), EPISODES, 4, torch.tensor(progress))
    assert float(gradient["x"]) == pytest.approx(3 * progress + 2)
    assert float(metrics["meta_loss"]) == pytest.approx(5 * (3 * progress + 2) + 4)


def test_leaf_that_the_meta_loss_does_not_reach_gets_zeros() -> None:
    learner = learner_of_progress()
    gradient, _ = meta_gradient(learner, learner.init(torch.Generator()), EPISODES, 1, torch.tensor(0.5))
    assert torch.equal(gradient["unreached"], torch.zeros(2, 3))


def test_metrics_are_means_over_tasks_without_a_graph() -> None:
    learner = sinusoid_learner()
    meta = learner.init(torch.Generator().manual_seed(0))
    _, metrics = meta_gradient(learner, meta, EPISODES, 1, torch.tensor(0.5))
    assert metrics.keys() == {"loss", "meta_loss"}
    assert metrics["loss"] == metrics["meta_loss"]
    assert not any(value.requires_grad or value.shape for value in metrics.values())


def test_meta_params_are_left_as_they_were() -> None:
    learner = sinusoid_learner()
    meta, again = (learner.init(torch.Generator().manual_seed(0)) for _ in range(2))
    meta_gradient(learner, meta, EPISODES, 1, torch.tensor(0.5))
    for name, leaf in meta.trained.items():
        assert torch.equal(leaf, again.trained[name])
        assert leaf.grad is None
        assert not leaf.requires_grad


@pytest.mark.parametrize("first_order", [False, True])
def test_meta_loss_is_told_whether_to_leave_out_second_derivatives(first_order: bool) -> None:
    told = []

    def meta_loss(
        meta: MetaParams, episode: Episode, settings: Settings, noise: Tree, progress: Tensor
    ) -> tuple[Tensor, Metrics]:
        told.append(settings.first_order)
        return meta.trained["x"] + 0 * progress, {}

    learner = learner_of_progress()._replace(meta_loss=meta_loss)
    meta = learner.init(torch.Generator())
    meta_gradient(learner, meta, EPISODES, 1, torch.tensor(0.5), first_order=first_order)
    assert told == [first_order]


def test_gradient_of_pictures_in_parts_is_that_of_all_tasks_at_once() -> None:
    network = build_network({"kind": "conv4", "filters": 8, "groups": 2}, (1, 28, 28), 5)
    learner = build_learner({"kind": "maml", "learning_rate": 0.1}, network, "cross_entropy", 0)
    generator = torch.Generator().manual_seed(0)
    meta, pictures, targets = (
        learner.init(generator),
        torch.rand(6, 40, 1, 28, 28, generator=generator),
        torch.arange(5),
    )
    rows = (pictures[:, :5], targets.repeat(6, 1), torch.ones(6, 5, dtype=torch.bool))
    queries = Query(pictures[:, 5:], targets.repeat(6, 7), torch.ones(6, 35, dtype=torch.bool))
    episodes = Episode(Support(*rows, rows[2]), queries, targets.repeat(6, 1))
    assert cached_size(episodes) == 2
    found = meta_gradient(learner, meta, episodes, 1, torch.tensor(0.5))
    wanted = part_gradient(learner, meta, episodes, 1, torch.tensor(0.5), first_order=False)
    for tree, other in zip(found, wanted, strict=True):
        for name, leaf in other.items():
            torch.testing.assert_close(tree[name], leaf, rtol=1e-4, atol=1e-6)
