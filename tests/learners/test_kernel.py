"""The kernel machine against distances in numpy, the normal equations, and scikit-learn's logistic regression."""

from typing import Any

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from torch import Tensor

from app.episode import Episode, MetaParams, Query, Settings, Support
from app.learners.kernel import COEFFICIENTS, CURVATURE, FEATURES, LOG_SCALE, LOG_STRENGTH, LOG_WIDTH, gaussian
from app.learners.learner import NO_NOISE, Learner
from app.learners.pairs import pairs_loss_of_parts
from app.learners.registry import build_learner
from app.networks.network import Network
from tests.learners.answers import DOUBLE, as_double, close

NUM_FEATURES, ROWS, QUERIES, WAYS = 5, 12, 7, 3
WIDTH, STRENGTH = 1.7, 0.2
SETTINGS = Settings(0, torch.tensor(1.0))
TARGETS = torch.tensor([0, 1, 2, 2, 1, 0, 2, 2, 0, 1, 2, 0])


def gram(one: Tensor, other: Tensor) -> Tensor:
    """Return the kernel by distances of differences."""
    distances = ((one.numpy()[:, None] - other.numpy()[None]) ** 2).sum(axis=2)
    return torch.from_numpy(np.exp(-WIDTH * distances / (2 * NUM_FEATURES)))


def test_likeness_is_a_gaussian_of_the_distance_a_feature() -> None:
    one, other = rows(ROWS, seed=1), rows(QUERIES, seed=2)
    close(gaussian(one, other, torch.tensor(WIDTH, dtype=torch.float64).log()), gram(one, other), DOUBLE)


def test_likeness_of_rows_of_mean_square_one_is_that_of_their_cosine() -> None:
    one, other = (x * NUM_FEATURES**0.5 / x.norm(dim=1, keepdim=True) for x in (rows(4, seed=1), rows(4, seed=2)))
    cosines = torch.nn.functional.cosine_similarity(one[:, None], other[None], dim=2)
    close(gaussian(one, other, torch.tensor(WIDTH, dtype=torch.float64).log()), (WIDTH * (cosines - 1)).exp(), DOUBLE)


def test_numbers_are_kernel_ridge_regression() -> None:
    learner, meta = learner_on("squared")
    targets, query = rows(ROWS, seed=3)[:, :2], rows(QUERIES, seed=2)
    support = Support(rows(ROWS, seed=1), targets, torch.ones(ROWS).bool(), torch.zeros(0).bool())
    task_params, _ = learner.adapt(meta, support, SETTINGS, NO_NOISE)
    solved = np.linalg.solve(gram(support.inputs, support.inputs).numpy() + STRENGTH * np.eye(ROWS), targets.numpy())
    expected = gram(query, support.inputs) @ torch.from_numpy(solved)
    close(learner.predict(meta, task_params, query), expected, DOUBLE)


def test_numbers_far_from_all_rows_are_the_prior_mean_which_is_zero() -> None:
    learner, meta = learner_on("squared")
    targets = 5 + rows(ROWS, seed=3)[:, :2]
    support = Support(rows(ROWS, seed=1), targets, torch.ones(ROWS).bool(), torch.zeros(0).bool())
    task_params, _ = learner.adapt(meta, support, SETTINGS, NO_NOISE)
    close(learner.predict(meta, task_params, 100 + rows(QUERIES, seed=2)), torch.zeros(QUERIES, 2).double(), DOUBLE)


@pytest.mark.parametrize("strength", [0.03, 0.2, 5.0])
def test_classes_are_kernel_logistic_regression(strength: float) -> None:
    """It is linear logistic regression on rows of the kernel's Cholesky factor, without an intercept."""
    learner, meta = learner_on("cross_entropy", iterations=100, strength=strength)
    support = classes_support()
    task_params, _ = learner.adapt(meta, support, SETTINGS, NO_NOISE)
    found = learner.predict(meta, task_params, support.inputs).softmax(dim=1)
    factor = np.linalg.cholesky(gram(support.inputs, support.inputs).numpy())
    model = LogisticRegression(C=1 / strength, fit_intercept=False, tol=1e-10, max_iter=10_000)
    expected = model.fit(factor, TARGETS.numpy()).predict_proba(factor)
    close(found, torch.from_numpy(expected), 1e-4)


@pytest.mark.parametrize(("iterations", "within"), [(20, 0.05), (50, 0.01)])
def test_the_default_number_of_iterations_is_near_the_solution(iterations: int, within: float) -> None:
    found, expected = (
        learner.predict(meta, learner.adapt(meta, classes_support(), SETTINGS, NO_NOISE)[0], rows(QUERIES, seed=2))
        for learner, meta in (learner_on("cross_entropy", iterations=n, strength=0.03) for n in (iterations, 100))
    )
    close(found.softmax(dim=1), expected.softmax(dim=1), within)


def test_first_iteration_is_kernel_ridge_regression_on_labels_less_their_mean() -> None:
    learner, meta = learner_on("cross_entropy", iterations=1)
    support = classes_support()
    task_params, _ = learner.adapt(meta, support, SETTINGS, NO_NOISE)
    labels = torch.eye(WAYS)[TARGETS].double() - 1 / WAYS
    matrix = gram(support.inputs, support.inputs) + STRENGTH / CURVATURE * torch.eye(ROWS).double()
    close(task_params[COEFFICIENTS], torch.linalg.solve(matrix, labels) / CURVATURE, DOUBLE)


def test_learned_scale_multiplies_the_logits() -> None:
    learner, meta = learner_on("cross_entropy")
    scaled = MetaParams({**meta.trained, LOG_SCALE: torch.tensor(3.0, dtype=torch.float64).log()}, {})
    query = rows(QUERIES, seed=2)
    one, three = (
        learner.predict(which, learner.adapt(which, classes_support(), SETTINGS, NO_NOISE)[0], query)
        for which in (meta, scaled)
    )
    close(three, 3.0 * one, DOUBLE)


def test_masked_rows_and_classes_take_no_part_whatever_they_hold() -> None:
    learner, meta = learner_on("cross_entropy")
    support, query = classes_support(), rows(QUERIES, seed=2)
    padded = Support(
        torch.cat([support.inputs, torch.full((2, NUM_FEATURES), torch.nan).double()]),
        torch.cat([TARGETS, torch.tensor([0, 1])]),
        torch.arange(ROWS + 2) < ROWS,
        torch.arange(WAYS + 1) < WAYS,
    )
    expected, _ = learner.adapt(meta, support, SETTINGS, NO_NOISE)
    found, _ = learner.adapt(meta, padded, SETTINGS, NO_NOISE)
    assert not found[FEATURES][ROWS:].any()
    assert not found[COEFFICIENTS][ROWS:].any()
    close(found[COEFFICIENTS][:ROWS, :WAYS], expected[COEFFICIENTS], DOUBLE)
    close(learner.predict(meta, found, query)[:, :WAYS], learner.predict(meta, expected, query), DOUBLE)


def test_trace_is_the_support_loss_of_the_solution() -> None:
    learner, meta = learner_on("cross_entropy")
    support = classes_support()
    task_params, trace = learner.adapt(meta, support, SETTINGS, NO_NOISE)
    logits = learner.predict(meta, task_params, support.inputs)
    close(trace.support_loss, torch.nn.functional.cross_entropy(logits, TARGETS)[None], 1e-7)


@pytest.mark.parametrize(
    "wrong",
    [{"width": 0}, {"strength": 0}, {"strength": float("nan")}, {"iterations": 0}, {"objective": "all"}],
    ids=str,
)
def test_option_that_is_none_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        build_learner({"kind": "kernel", **wrong}, network(), "squared", 0)


@pytest.mark.parametrize("parts", [(), (2, 3)], ids=str)
def test_objective_of_pairs_is_over_all_rows_and_each_part(parts: tuple[int, ...]) -> None:
    learner = build_learner({"kind": "kernel", "objective": "pairs"}, network(parts), "cross_entropy", 0)
    query = Query(rows(QUERIES, seed=2), torch.arange(QUERIES) % WAYS, torch.arange(QUERIES) < QUERIES - 1)
    support = classes_support()._replace(row_mask=torch.arange(ROWS) > 0)
    meta, episode = learner.init(torch.Generator()), Episode(support, query, torch.arange(WAYS))
    loss, _ = learner.meta_loss(meta, episode, SETTINGS, NO_NOISE, torch.tensor(0.5))
    both = [torch.cat(pair) for pair in ((support.inputs, query.inputs), (TARGETS, query.targets))]
    row_mask = torch.cat([support.row_mask, query.row_mask])
    expected = pairs_loss_of_parts(both[0], parts or (NUM_FEATURES,), both[1], row_mask, WAYS)
    close(loss, expected, DOUBLE)


def test_objective_of_pairs_needs_classes() -> None:
    with pytest.raises(ValueError, match="objective 'pairs' is about rows of one class"):
        build_learner({"kind": "kernel", "objective": "pairs"}, network(), "squared", 0)


def network(parts: tuple[int, ...] = ()) -> Network:
    """Return a network whose features are its inputs."""
    head = {"head.weight": torch.zeros(1, NUM_FEATURES), "head.bias": torch.zeros(1)}
    return Network(lambda generator: head, lambda params, inputs: inputs, (NUM_FEATURES,), NUM_FEATURES, 1, parts=parts)


def learner_on(loss: str, iterations: int = 20, strength: float = STRENGTH) -> tuple[Learner, MetaParams]:
    options = {"kind": "kernel", "width": WIDTH, "strength": strength, "iterations": iterations}
    learner = build_learner(options, network(), loss, 0)
    trained = as_double(learner.init(torch.Generator()).trained)
    exact = {LOG_WIDTH: WIDTH, LOG_STRENGTH: strength}  # the leaves themselves are float32
    return learner, MetaParams(
        {**trained, **{name: torch.tensor(x, dtype=torch.float64).log() for name, x in exact.items()}}, {}
    )


def rows(num_rows: int, seed: int) -> Tensor:
    return torch.randn(num_rows, NUM_FEATURES, generator=torch.Generator().manual_seed(seed)).double()


def classes_support() -> Support:
    return Support(rows(ROWS, seed=1), TARGETS, torch.ones(ROWS).bool(), torch.ones(WAYS).bool())
