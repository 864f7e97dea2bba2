"""Matching networks against a plain loop over rows, and what their attention must never do."""

import math

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from app.episode import MetaParams, Settings, Support
from app.learners.learner import NO_NOISE, Learner
from app.learners.matching import MAX_SHARPNESS, SHARPNESS, START_SHARPNESS, log_shares
from app.learners.registry import build_learner
from app.networks.network import Network
from tests.learners.answers import DOUBLE, as_double, close

FEATURES, ROWS, QUERIES, WAYS = 5, 7, 4, 3
TARGETS = torch.tensor([0, 1, 1, 2, 2, 2, 0])
SETTINGS = Settings(0, torch.tensor(1.0))
ALL_ROWS, ALL_CLASSES = torch.ones(ROWS, dtype=torch.bool), torch.ones(WAYS, dtype=torch.bool)


def test_probability_of_a_class_is_its_share_of_attention_by_hand() -> None:
    learner, meta = _learner()
    support, queries = as_double(_support()), _rows(QUERIES, seed=2).double()
    task_params, _ = learner.adapt(meta, support, SETTINGS, NO_NOISE)
    found = learner.predict(meta, task_params, queries).softmax(dim=1)
    expected = torch.zeros(QUERIES, WAYS).double()
    for q in range(QUERIES):
        cosines = [functional.cosine_similarity(queries[q], row, dim=0) for row in support.inputs]
        alike = [math.exp(START_SHARPNESS * float(cosine)) for cosine in cosines]
        for s in range(ROWS):
            expected[q, TARGETS[s]] += alike[s] / sum(alike)
    close(found, expected, 1e-6)  # the sharpness is learned through a sigmoid whose start is a float32


def test_trace_is_the_support_loss_with_each_row_attending_to_all() -> None:
    learner, meta = _learner()
    support = as_double(_support())
    task_params, trace = learner.adapt(meta, support, SETTINGS, NO_NOISE)
    logits = learner.predict(meta, task_params, support.inputs)
    close(trace.support_loss, functional.cross_entropy(logits, TARGETS)[None], 1e-7)  # weights of rows are float32


def test_length_of_the_features_does_not_matter() -> None:
    learner, meta = _learner()
    support, queries = as_double(_support()), _rows(QUERIES, seed=2).double()
    task_params, _ = learner.adapt(meta, support, SETTINGS, NO_NOISE)
    longer, _ = learner.adapt(meta, support._replace(inputs=100 * support.inputs), SETTINGS, NO_NOISE)
    close(learner.predict(meta, longer, 0.01 * queries), learner.predict(meta, task_params, queries), DOUBLE)


def test_class_whose_rows_are_all_masked_gets_no_attention() -> None:
    logits = log_shares(torch.zeros(QUERIES, ROWS), TARGETS, TARGETS != 1, ALL_CLASSES)
    assert logits.isfinite().all()
    close(logits.softmax(dim=1)[0], torch.tensor([0.4, 0.0, 0.6]))


def test_gradient_is_finite_where_a_class_has_no_rows() -> None:
    scores = torch.zeros(QUERIES, ROWS, requires_grad=True)
    logits = log_shares(scores, TARGETS, TARGETS != 1, ALL_CLASSES)
    (gradient,) = torch.autograd.grad(functional.cross_entropy(logits, torch.tensor([0, 0, 2, 2])), scores)
    assert gradient.isfinite().all()
    assert gradient.any()


@pytest.mark.parametrize("leaf", [-100.0, 0.0, 100.0])
def test_rows_in_the_opposite_direction_have_a_finite_logarithm_however_sharp(leaf: float) -> None:
    """A thousand rows of class 0 are just what is asked for; the one row of class 1 is its opposite."""
    learner, _ = _learner()
    sharp = MetaParams({SHARPNESS: torch.tensor(leaf)}, {})
    query = torch.ones(1, FEATURES)
    inputs = torch.cat([query.expand(1000, FEATURES), -query])
    targets = torch.cat([torch.zeros(1000), torch.ones(1)]).long()
    support = Support(inputs, targets, torch.ones(1001, dtype=torch.bool), torch.ones(2, dtype=torch.bool))
    task_params, _ = learner.adapt(sharp, support, SETTINGS, NO_NOISE)
    logits = learner.predict(sharp, task_params, query)
    sharpness = MAX_SHARPNESS * torch.tensor(leaf).sigmoid()
    close(logits[:, 0] - logits[:, 1], (2 * sharpness + math.log(1000))[None], 1e-4)


def test_numbers_are_refused() -> None:
    with pytest.raises(ValueError, match="matching networks need classes; these targets are numbers"):
        build_learner({"kind": "matching"}, _network(), "squared", 0)


def _network() -> Network:
    """Return a network whose features are its inputs."""
    head = {"head.weight": torch.zeros(1, FEATURES), "head.bias": torch.zeros(1)}
    return Network(lambda generator: head, lambda params, inputs: inputs, (FEATURES,), FEATURES, 1)


def _learner() -> tuple[Learner, MetaParams]:
    learner = build_learner({"kind": "matching"}, _network(), "cross_entropy", 0)
    return learner, as_double(learner.init(torch.Generator()))


def _rows(rows: int, seed: int) -> Tensor:
    return torch.randn(rows, FEATURES, generator=torch.Generator().manual_seed(seed))


def _support() -> Support:
    return Support(_rows(ROWS, seed=1), TARGETS, ALL_ROWS, ALL_CLASSES)
