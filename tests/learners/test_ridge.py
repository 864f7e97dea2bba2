"""The closed-form head against the normal equations, written out in numpy."""

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from torch import Tensor

from app.episode import MetaParams, Settings, Support, TaskParams
from app.learners.learner import NO_NOISE, Learner
from app.learners.registry import build_learner
from app.learners.ridge import LOG_SCALE, LOG_STRENGTH, START_SCALE, ridge_head
from app.networks.network import Network
from tests.learners.answers import DOUBLE, as_double, close

FEATURES, WAYS = 5, 3
SETTINGS = Settings(0, torch.tensor(1.0))
STRENGTH = 0.7
FEW, MANY = 4, 30
"""Rows: fewer than features, and more."""
both_ways = pytest.mark.parametrize("num_rows", [FEW, MANY])

Matrix = npt.NDArray[np.float64]


def by_normal_equations(features: Tensor, wanted: Tensor, strength: float = STRENGTH) -> tuple[Tensor, Tensor]:
    """Return weights and intercepts: (X'X + strength I)^-1 X'Y, with a column of ones in X."""
    x: Matrix = np.concatenate([features.numpy(), np.ones((len(features), 1))], axis=1)
    solved = np.linalg.inv(x.T @ x + strength * np.eye(x.shape[1])) @ x.T @ wanted.numpy()
    return torch.from_numpy(solved[:-1].T), torch.from_numpy(solved[-1])


@both_ways
def test_numbers_are_fitted_by_the_normal_equations_from_the_prior_on(num_rows: int) -> None:
    learner, meta = learner_on("squared")
    support = numbers_support(num_rows)
    found = adapted(learner, meta, support)
    prior_weight, prior_bias = meta.trained["head.weight"], meta.trained["head.bias"]
    missing = support.targets - support.inputs @ prior_weight.T - prior_bias
    weight, bias = by_normal_equations(support.inputs, missing)
    close(found["head.weight"], prior_weight + weight, DOUBLE)
    close(found["head.bias"], prior_bias + bias, DOUBLE)


@both_ways
def test_classes_are_fitted_as_one_hot_labels_times_the_scale(num_rows: int) -> None:
    learner, meta = learner_on("cross_entropy")
    support = classes_support(num_rows)
    found = adapted(learner, meta, support)
    weight, bias = by_normal_equations(support.inputs, torch.eye(WAYS)[support.targets].double())
    scale = meta.trained[LOG_SCALE].exp()
    close(scale, torch.tensor(START_SCALE, dtype=torch.float64), 1e-6)
    close(found["head.weight"], scale * weight, DOUBLE)
    close(found["head.bias"], scale * bias, DOUBLE)
    query = rows(6, seed=9)
    close(learner.predict(meta, found, query), scale * (query @ weight.T + bias), DOUBLE)


@pytest.mark.parametrize(("strength", "nearness"), [(1e6, 1e-4), (1e9, 1e-7)])
def test_the_stronger_the_penalty_the_nearer_numbers_stay_to_the_prior(strength: float, nearness: float) -> None:
    learner, meta = learner_on("squared")
    strong = MetaParams({**meta.trained, LOG_STRENGTH: torch.tensor(strength, dtype=torch.float64).log()}, {})
    found = adapted(learner, strong, numbers_support(MANY))
    for name in ("head.weight", "head.bias"):
        close(found[name], meta.trained[name], nearness)
        assert not torch.equal(found[name], meta.trained[name])


def test_targets_that_the_prior_gives_leave_it_as_it_is() -> None:
    learner, meta = learner_on("squared")
    inputs = rows(MANY, seed=4)
    targets = inputs @ meta.trained["head.weight"].T + meta.trained["head.bias"]
    found = adapted(learner, meta, support_of(inputs, targets))
    close(found, {name: meta.trained[name] for name in found}, DOUBLE)


def test_solving_in_the_rows_and_in_the_features_gives_the_same_head() -> None:
    """Masked rows make it a solution in the features, which are then fewer."""
    features, wanted = rows(FEW, seed=1), rows(FEW, seed=2)
    more = MANY - FEW
    strength = torch.tensor(STRENGTH, dtype=torch.float64)
    in_rows = ridge_head(features, wanted, torch.ones(FEW).bool(), strength)
    padded = [torch.cat([part, torch.full((more, FEATURES), torch.nan).double()]) for part in (features, wanted)]
    in_features = ridge_head(padded[0], padded[1], torch.arange(MANY) < FEW, strength)
    close(in_features, in_rows, DOUBLE)


@both_ways
def test_gradient_reaches_features_and_strength_either_way(num_rows: int) -> None:
    features, strength = (
        rows(num_rows, seed=1).requires_grad_(),
        torch.tensor(STRENGTH, dtype=torch.float64).requires_grad_(),
    )
    wanted, row_mask = rows(num_rows, seed=2), torch.ones(num_rows).bool()

    def head_of(features: Tensor, strength: Tensor) -> Any:
        return ridge_head(features, wanted, row_mask, strength)

    assert torch.autograd.gradcheck(head_of, (features, strength))


def test_weak_penalty_on_rows_that_repeat_is_still_solved_for() -> None:
    """In float32 the matrix is not positive definite any more."""
    features = rows(3, seed=1).float().repeat(20, 1)
    wanted = torch.ones(60, 1)
    weight, bias = ridge_head(features, wanted, torch.ones(60).bool(), torch.tensor(1e-6))
    close(features @ weight.T + bias, wanted, 1e-4)


def test_trace_is_the_support_loss_of_the_solution() -> None:
    learner, meta = learner_on("squared")
    support = numbers_support(FEW)
    task_params, trace = learner.adapt(meta, support, SETTINGS, NO_NOISE)
    errors = learner.predict(meta, task_params, support.inputs) - support.targets
    close(trace.support_loss, errors.square().mean()[None], 1e-7)  # weights of rows are float32


@pytest.mark.parametrize("strength", [0, -1.0, 2e6, float("inf"), float("nan"), "1"])
def test_strength_that_is_none_is_refused(strength: Any) -> None:
    with pytest.raises(ValueError, match="strength"):
        build_learner({"kind": "ridge", "strength": strength}, network(), "squared", 0)


def network() -> Network:
    """Return a network whose features are its inputs."""
    head = {"head.weight": rows(WAYS, seed=7).float(), "head.bias": rows(1, seed=8)[0, :WAYS].float()}
    return Network(lambda generator: head, lambda params, inputs: inputs, (FEATURES,), FEATURES, WAYS)


def learner_on(loss: str) -> tuple[Learner, MetaParams]:
    learner = build_learner({"kind": "ridge", "strength": STRENGTH}, network(), loss, 0)
    trained = as_double(learner.init(torch.Generator()).trained)
    return learner, MetaParams({**trained, LOG_STRENGTH: torch.tensor(STRENGTH, dtype=torch.float64).log()}, {})


def adapted(learner: Learner, meta: MetaParams, support: Support) -> TaskParams:
    return learner.adapt(meta, support, SETTINGS, NO_NOISE)[0]


def rows(num_rows: int, seed: int) -> Tensor:
    return torch.randn(num_rows, FEATURES, generator=torch.Generator().manual_seed(seed)).double()


def numbers_support(num_rows: int) -> Support:
    return support_of(rows(num_rows, seed=1), rows(num_rows, seed=2)[:, :WAYS])


def support_of(inputs: Tensor, targets: Tensor) -> Support:
    return Support(inputs, targets, torch.ones(len(inputs)).bool(), torch.zeros(0).bool())


def classes_support(num_rows: int) -> Support:
    targets = torch.arange(num_rows) % WAYS
    return Support(rows(num_rows, seed=1), targets, torch.ones(num_rows).bool(), torch.ones(WAYS).bool())
