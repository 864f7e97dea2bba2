"""Statistics of the support as leaves of a task: of its rows alone, and the same for every learner."""

import pytest
import torch

from app.learners.registry import build_learner
from app.learners.support_statistics import with_support_statistics
from app.networks.registry import build_network
from app.trees import merge
from tests.learners.answers import STEPS, answer, equal_to_the_bit
from tests.learners.cases import CASES, Case

NORMED = [case for case in CASES if case.toy.name == "support-normed"]
every_normed = pytest.mark.parametrize("case", NORMED, ids=str)


@every_normed
def test_statistics_are_those_of_the_initial_weights_on_the_support(case: Case) -> None:
    meta, episode = case.meta(), case.episode()
    statistics = build_network(case.toy.network, case.toy.input_shape, case.toy.num_outputs).statistics
    assert statistics is not None
    expected = statistics.of_support(merge(meta.fixed, meta.trained), episode.support.inputs, episode.support.row_mask)
    task_params = answer(case.learner(), meta, episode, STEPS).task_params
    equal_to_the_bit({name: leaf for name, leaf in task_params.items() if name.startswith("norm.")}, expected)


@every_normed
def test_answers_depend_on_the_statistics_of_the_task(case: Case) -> None:
    learner, meta, episode = case.learner(), case.meta(), case.episode()
    task_params = answer(learner, meta, episode).task_params
    others = answer(learner, meta, case.episode(seed=9)).task_params
    norms = {name: leaf for name, leaf in others.items() if name.startswith("norm.")}
    one, other = (
        learner.predict(meta, params, episode.query.inputs) for params in (task_params, merge(task_params, norms))
    )
    assert not torch.allclose(one, other, atol=1e-3)


def test_learner_over_a_network_without_statistics_is_left_as_it_is() -> None:
    network = build_network({"kind": "mlp"}, (2,), 3)
    learner = build_learner({"kind": "maml"}, network, "cross_entropy", 5)
    assert with_support_statistics(learner, network) is learner
