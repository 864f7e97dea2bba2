"""Contract: the meta-gradient is finite and the derivative of what the learner says it is."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from app.episode import Episode, MetaParams, Settings, Tree
from app.learners.learner import NO_NOISE, Learner
from app.training.meta_step import meta_gradient
from app.trees import all_finite, merge
from tests.learners.answers import STEPS, answers, as_double, equal_to_the_bit, mapped
from tests.learners.cases import CASES, Case, every_case

PROGRESS = torch.tensor(0.5)
DIRECTIONS = 2
EPSILON = 1e-6
"""In float64: far above rounding, and so short that no ReLU of these fixed seeds turns within it."""

exact = pytest.mark.parametrize("case", [case for case in CASES if case.variant.gradient == "exact"], ids=str)
HALVES = [
    case
    for case in CASES
    if case.variant.gradient != "surrogate" and case.variant.adapts_in_training and case.learner().traits.takes_steps
]
"""Those whose meta-gradient has a first-order half that can be had alone."""
with_the_option = pytest.mark.parametrize("case", [case for case in HALVES if case.variant.has_first_order], ids=str)
at_fixed_rates = pytest.mark.parametrize(
    "case",
    [case for case in HALVES if not case.learner().traits.learned_rates and not case.variant.solves],
    ids=str,
)
first_order = pytest.mark.parametrize(
    "case", [case for case in CASES if case.variant.gradient == "first_order"], ids=str
)


@every_case
def test_meta_gradient_is_finite_and_not_zero(case: Case) -> None:
    gradient, metrics = meta_gradient(case.learner(), case.meta(), case.episodes(), STEPS, PROGRESS)
    assert gradient.keys() == case.meta().trained.keys()
    assert all_finite(gradient)
    assert all_finite(metrics)
    assert any(leaf.any() for leaf in gradient.values())


@exact
def test_meta_gradient_is_the_derivative_of_the_meta_loss(case: Case) -> None:
    learner, meta, episodes = case.learner(), as_double(case.meta()), as_double(case.episodes())
    gradient = _double_gradient(learner, meta, episodes)
    _check_derivative(_meta_loss_at(learner, meta, episodes), meta, gradient)


@at_fixed_rates
def test_first_order_gradient_is_the_derivative_with_the_inner_gradient_held(case: Case) -> None:
    """At the end of training, when the meta-loss is that after the last step; it may be in other units."""
    learner, meta, episodes = case.learner(), as_double(case.meta()), as_double(case.episodes())
    moves, end = _moves(learner, meta, episodes), torch.tensor(1.0).double()
    gradient, metrics = meta_gradient(learner, meta, episodes, STEPS, end, first_order=True)
    unit = float(metrics["meta_loss"] / metrics["loss"])

    def loss_at(trained: Tree) -> Tensor:
        moved_meta = MetaParams(trained, meta.fixed)

        def of_task(episode: Episode, move: Tree) -> Tensor:
            start = _start(learner, moved_meta, episode)
            params = {name: start[name] + move[name] if name in move else leaf for name, leaf in start.items()}
            outputs = learner.predict(moved_meta, params, episode.query.inputs)
            return unit * learner.metrics(moved_meta, outputs, episode.query)["loss"]

        loss: Tensor = torch.vmap(of_task)(episodes, moves).mean()
        return loss

    _check_derivative(loss_at, meta, gradient)


@with_the_option
def test_settings_leave_out_what_the_option_leaves_out(case: Case) -> None:
    learner, meta, episodes = case.learner(), as_double(case.meta()), as_double(case.episodes())
    by_settings, metrics = meta_gradient(learner, meta, episodes, STEPS, PROGRESS.double(), first_order=True)
    by_option, same_metrics = meta_gradient(case.learner(first_order=True), meta, episodes, STEPS, PROGRESS.double())
    equal_to_the_bit((by_settings, metrics), (by_option, same_metrics))


@first_order
def test_first_order_gradient_is_not_that_of_the_meta_loss(case: Case) -> None:
    learner, meta, episodes = case.learner(), as_double(case.meta()), as_double(case.episodes())
    gradient = _double_gradient(learner, meta, episodes)
    with pytest.raises(AssertionError):
        _check_derivative(_meta_loss_at(learner, meta, episodes), meta, gradient)


@every_case
def test_leaves_that_are_fixed_are_not_trained(case: Case) -> None:
    trained, fixed = case.meta()
    assert not trained.keys() & fixed.keys()


def _meta_loss_at(learner: Learner, meta: MetaParams, episodes: Episode) -> Callable[[Tree], Tensor]:
    return lambda trained: answers(learner, MetaParams(trained, meta.fixed), episodes).meta_loss.mean()


def _double_gradient(learner: Learner, meta: MetaParams, episodes: Episode) -> Tree:
    gradient, _ = meta_gradient(learner, meta, episodes, STEPS, PROGRESS.double())
    return gradient


def _check_derivative(loss_at: Callable[[Tree], Tensor], meta: MetaParams, gradient: Tree) -> None:
    """Compare with central differences along random directions that are of length 1 in every leaf."""
    generator = torch.Generator().manual_seed(0)
    for _ in range(DIRECTIONS):
        raw = {name: torch.randn(leaf.shape, generator=generator).double() for name, leaf in meta.trained.items()}
        direction = {name: leaf / leaf.norm() for name, leaf in raw.items()}
        ahead, behind = (
            loss_at({name: leaf + sign * EPSILON * direction[name] for name, leaf in meta.trained.items()})
            for sign in (1, -1)
        )
        slope = float(ahead - behind) / (2 * EPSILON)
        expected = float(sum((gradient[name] * direction[name]).sum() for name in gradient))
        assert slope == pytest.approx(expected, rel=1e-5, abs=1e-7)


def _start(learner: Learner, meta: MetaParams, episode: Episode) -> Tree:
    """Return where a task's leaves are before the first step."""
    no_steps = Settings(0, torch.tensor(1.0, dtype=torch.float64))
    task_params, _ = learner.adapt(meta, episode.support, no_steps, NO_NOISE)
    return merge(merge(meta.fixed, meta.trained), task_params)


def _moves(learner: Learner, meta: MetaParams, episodes: Episode) -> Tree:
    """Return by how much adaptation moves each leaf of each task."""

    def of_task(episode: Episode) -> Tree:
        start = _start(learner, meta, episode)
        task_params, _ = learner.adapt(meta, episode.support, Settings(STEPS, torch.ones(()).double()), NO_NOISE)
        return {name: leaf - start[name] for name, leaf in task_params.items() if leaf.is_floating_point()}

    moves: Tree = torch.vmap(of_task)(episodes)
    return mapped(torch.Tensor.detach, moves)
