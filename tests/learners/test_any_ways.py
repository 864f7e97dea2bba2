"""Learners that take any number of classes: one initialisation, whatever the network was built with."""

import functools

import pytest
import torch

from app.episode import Settings, Tree
from app.learners.learner import NO_NOISE
from app.learners.model import as_tree
from app.networks.network import leaf_kinds
from tests.learners.answers import answer
from tests.learners.cases import CASES, CLASSIFIERS, Case

ANY_WAYS = [case for case in CLASSIFIERS if case.learner().traits.any_ways]
every_any_ways = pytest.mark.parametrize("case", ANY_WAYS, ids=str)


def _first_leaves(case: Case, ways: int, generator: torch.Generator) -> Tree:
    return as_tree(case.learner(ways).init(generator))


@pytest.mark.parametrize("case", CLASSIFIERS, ids=str)
def test_initialisation_depends_on_the_number_of_classes_exactly_where_the_traits_say_so(case: Case) -> None:
    few, many = (leaf_kinds(functools.partial(_first_leaves, case, ways)) for ways in (2, 7))
    assert (few == many) == case.learner().traits.any_ways


@pytest.mark.parametrize("case", [case for case in CASES if not case.classifies], ids=str)
def test_numbers_have_a_fixed_length(case: Case) -> None:
    assert not case.learner().traits.any_ways


@every_any_ways
@pytest.mark.parametrize("ways", [2, 3, 4])
def test_one_initialisation_serves_any_number_of_classes(case: Case, ways: int) -> None:
    learner, meta = case.learner(1), case.meta()
    found = answer(learner, meta, case.episode(ways))
    assert found.outputs.shape[-1] == ways
    assert found.outputs.isfinite().all()


@every_any_ways
def test_more_classes_than_training_had_are_taken(case: Case) -> None:
    learner, meta, support = case.learner(1), case.meta(), case.episode().support
    rows = torch.cat([support.inputs] * 5)
    targets = torch.arange(len(rows))
    many = support._replace(
        inputs=rows + 0.01 * targets.reshape(-1, *[1] * (rows.dim() - 1)),
        targets=targets,
        row_mask=torch.ones(len(rows), dtype=torch.bool),
        class_mask=torch.ones(len(rows), dtype=torch.bool),
    )
    steps = learner.traits.steps
    task_params, trace = learner.adapt(meta, many, Settings(steps, torch.tensor(0.1)), NO_NOISE)
    outputs = learner.predict(meta, task_params, rows)
    assert outputs.shape == (len(rows), len(rows))
    assert outputs.isfinite().all()
    assert trace.support_loss.isfinite().all()
