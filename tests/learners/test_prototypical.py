"""Prototypical networks against plain loops over distances to class means."""

import pytest
import torch

from app.episode import Episode, MetaParams, Query, Settings, Support
from app.learners.head_start import LOG_SCALE
from app.learners.learner import NO_NOISE, Learner
from app.learners.registry import build_learner
from app.networks.network import Network
from tests.learners.answers import DOUBLE, as_double, close
from tests.learners.test_pairs import FEATURES, ROWS, SCALE, TARGETS, WAYS, by_loops, rows

QUERY_TARGETS = torch.tensor([2, 0, 1])
QUERIES = len(QUERY_TARGETS)
SETTINGS = Settings(0, torch.tensor(1.0))


def test_meta_loss_of_pairs_is_over_support_and_query_and_its_metrics_are_of_queries() -> None:
    (pairs, meta), (episodes, _) = learner_with("pairs"), learner_with("episodes")
    episode = episode_of()
    loss, metrics = pairs.meta_loss(meta, episode, SETTINGS, NO_NOISE, torch.tensor(0.5))
    together = torch.cat([episode.support.inputs, episode.query.inputs])
    targets = torch.cat([TARGETS, QUERY_TARGETS])
    row_mask = torch.cat([episode.support.row_mask, episode.query.row_mask])
    assert float(loss) == pytest.approx(by_loops(together, targets, row_mask), abs=DOUBLE)
    of_queries, expected = episodes.meta_loss(meta, episode, SETTINGS, NO_NOISE, torch.tensor(0.5))
    close(metrics, expected, DOUBLE)
    assert not torch.isclose(loss, of_queries)


def test_probabilities_are_a_softmax_of_scaled_distances_to_the_means() -> None:
    learner, meta = learner_with("episodes")
    episode = episode_of()
    task_params, _ = learner.adapt(meta, episode.support, SETTINGS, NO_NOISE)
    found = learner.predict(meta, task_params, episode.query.inputs).softmax(dim=1)
    for q in range(QUERIES):
        distances = torch.stack(
            [
                (episode.query.inputs[q] - episode.support.inputs[n == TARGETS].mean(dim=0)).square().sum()
                for n in range(WAYS)
            ]
        )
        close(found[q], (-SCALE * distances).softmax(dim=0), DOUBLE)


def test_both_objectives_adapt_and_predict_alike() -> None:
    found = []
    for objective in ("pairs", "episodes"):
        learner, meta = learner_with(objective)
        task_params, trace = learner.adapt(meta, episode_of().support, SETTINGS, NO_NOISE)
        found.append((task_params, trace, learner.predict(meta, task_params, episode_of().query.inputs)))
    close(found[0], found[1], DOUBLE)


def test_numbers_are_refused_with_what_takes_them() -> None:
    with pytest.raises(ValueError, match="prototypical networks need classes; these targets are numbers: use kind"):
        build_learner({"kind": "prototypical"}, network(), "squared", 0)


def test_objective_that_is_none_is_refused() -> None:
    with pytest.raises(ValueError, match="objective"):
        build_learner({"kind": "prototypical", "objective": "triplets"}, network(), "cross_entropy", 0)


def network() -> Network:
    """Return a network whose features are its inputs."""
    head = {"head.weight": torch.zeros(1, FEATURES), "head.bias": torch.zeros(1)}
    return Network(lambda generator: head, lambda params, inputs: inputs, (FEATURES,), FEATURES, 1)


def learner_with(objective: str) -> tuple[Learner, MetaParams]:
    options = {"kind": "prototypical", "objective": objective}
    learner = build_learner(options, network(), "cross_entropy", 0)
    trained = as_double(learner.init(torch.Generator()).trained)
    return learner, MetaParams({**trained, LOG_SCALE: torch.tensor(SCALE, dtype=torch.float64).log()}, {})


def episode_of() -> Episode:
    support = Support(rows(ROWS, seed=1), TARGETS, torch.ones(ROWS).bool(), torch.ones(WAYS).bool())
    query = Query(rows(QUERIES, seed=2), QUERY_TARGETS, torch.tensor([True, True, False]))
    return Episode(support, query, torch.arange(WAYS))
