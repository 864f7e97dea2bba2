"""What a row of the table is: the same tasks for all, within its budget, by a request that holds."""

import pytest
import torch

from app.task_distributions.distribution import Distribution
from app.task_distributions.registry import build_distribution
from benchmarks.quality.baselines import BASELINES, PREFIX
from benchmarks.quality.budget import Costs, fitted_plan
from benchmarks.quality.comparing import difference, ratio
from benchmarks.quality.comparisons import COMPARISONS
from benchmarks.quality.methods import METHODS
from benchmarks.quality.parts import Part, name_of, parts_of, run_part
from benchmarks.quality.results import Role, cell_result
from benchmarks.quality.tasks import folds, held_out_batches, in_rows, sampled, tuning_batches, with_rows
from benchmarks.quality.training import planned_for, request_of
from tests.benchmarks.small_table import MINUTES, NUM_TASKS, made_up_data, small

EVERY_METHOD = [(name, method) for name, methods in METHODS.items() for method in methods]
NUM_ROWS = 9


def held_out(ways: int) -> Distribution:
    options = {"kind": "labelled", "dataset": "intents", "ways": ways, "shots": 2, "queries": 3, "scaling": False}
    return build_distribution(options, "test", made_up_data())


@pytest.mark.parametrize(("name", "method"), EVERY_METHOD)
def test_every_request_of_the_table_can_be_planned(name: str, method: str) -> None:
    comparison, data = COMPARISONS[name], made_up_data()
    found = METHODS[name][method]
    for fold in folds(comparison, data)[:1]:
        planned = planned_for(comparison, request_of(comparison, method, found), found, fold)
        episodes = planned.training.sample(torch.Generator().manual_seed(0), 1)
        assert episodes.support.inputs.shape[2:] == planned.card.input.shape
        if comparison.metric == "accuracy":
            assert planned.card.num_classes(comparison.most_ways) == comparison.most_ways


@pytest.mark.parametrize(
    ("name", "method", "role"),
    [
        ("omniglot", "prototypical", "method"),
        ("intents", "anil", "method"),
        ("intents", "anil-means", "method"),
        ("intents", "baseline-logistic", "baseline"),
        ("patients", "ridge", "method"),
        ("patients", "baseline-ridge", "baseline"),
    ],
)
def test_a_part_has_every_cell(name: str, method: str, role: Role) -> None:
    comparison = small(name, num_cells=6)
    result = run_part(Part(comparison, method, role), made_up_data(), MINUTES)
    assert list(result.cells) == [cell.name for cell in comparison.cells]
    num_patients = 14
    assert {cell.tasks for cell in result.cells.values()} == {num_patients if name == "patients" else NUM_TASKS}


def test_all_parts_of_a_cell_have_the_same_tasks() -> None:
    for name in ("sinusoid", "omniglot", "patients"):
        comparison, data = small(name), made_up_data()
        for cell in comparison.cells:
            first, second = (held_out_batches(comparison, cell, folds(comparison, data)[0]) for _ in range(2))
            for one, other in zip(first, second, strict=True):
                assert torch.equal(one.query.inputs, other.query.inputs)


def test_tuning_never_sees_a_test_class() -> None:
    comparison, data = small("intents"), made_up_data()
    dataset = data["intents"]
    of_test = torch.isin(dataset.targets, torch.tensor(dataset.split["test"]))
    test_rows = {tuple(row) for row in dataset.inputs[of_test, :3].tolist()}
    assert test_rows
    for cell in comparison.cells:
        for episodes in tuning_batches(comparison, cell, data):
            rows = {tuple(row) for row in episodes.support.inputs[:, :, :3].flatten(0, 1).tolist()}
            assert not rows & test_rows


def test_every_patient_is_held_out_once() -> None:
    comparison, data = COMPARISONS["patients"], made_up_data()
    splits = [fold["parkinsons"].split for fold in folds(comparison, data)]
    assert sorted(patient for split in splits for patient in split["test"]) == list(range(14))
    for split in splits:
        assert not set(split["test"]) & (set(split["train"]) | set(split["validation"]))
        assert not set(split["validation"]) & set(split["train"])


def test_rows_without_a_class_are_masked_and_classes_keep_their_rows() -> None:
    (plain,) = sampled(held_out(5), 4, 4, seed=1)
    for generator in (None, torch.Generator().manual_seed(2)):
        wide = in_rows(plain, NUM_ROWS, generator)
        assert wide.support.class_mask.shape == (4, NUM_ROWS)
        assert wide.support.class_mask.sum(dim=1).tolist() == [5] * 4
        for before, after in ((plain.support, wide.support), (plain.query, wide.query)):
            assert wide.support.class_mask.gather(1, after.targets).all()
            assert torch.equal(wide.class_ids.gather(1, after.targets), plain.class_ids.gather(1, before.targets))


def test_training_reaches_every_row_of_a_wide_head() -> None:
    wide = with_rows(held_out(5), NUM_ROWS, shuffled=True).sample(torch.Generator().manual_seed(0), 60)
    assert wide.support.class_mask.any(dim=0).all()


def test_tasks_as_wide_as_the_head_stay_as_they_are() -> None:
    (plain,) = sampled(held_out(5), 2, 2, seed=1)
    assert in_rows(plain, 5) is plain


@pytest.mark.parametrize(
    ("costs", "budget", "iterations", "every"),
    [
        (Costs(0.1, 1.0), 100.0, 900, 90),
        (Costs(0.1, 50.0), 100.0, 500, 500),  # a validation that takes half is made once
        (Costs(0.1, 5.0), 100.0, 850, 284),
        (Costs(60.0, 0.0), 100.0, 2, 1),
    ],
)
def test_iterations_and_validations_fit_the_budget(costs: Costs, budget: float, iterations: int, every: int) -> None:
    comparison, method = COMPARISONS["sinusoid"], METHODS["sinusoid"]["maml"]
    plan = planned_for(comparison, request_of(comparison, "maml", method), method, {}).plan
    fitted = fitted_plan(plan, costs, 10, budget)
    assert (fitted.iterations, fitted.validate_every) == (iterations, every)
    assert fitted.learning_rate_schedule == "cosine"


def test_differences_are_taken_task_by_task() -> None:
    ours, theirs = torch.tensor([0.5, 0.75, 1.0, 0.25]), torch.tensor([0.25, 0.5, 0.75, 0.0])
    found = difference(cell_result(ours), cell_result(theirs))
    assert (found.mean, found.interval) == (0.25, 0.0)
    assert ratio(cell_result(2 * ours), cell_result(ours)) == (2.0, 2.0, 2.0)
    with pytest.raises(ValueError, match="4 tasks against 3"):
        difference(cell_result(ours), cell_result(theirs[:3]))


def test_an_error_that_is_not_finite_is_no_mean() -> None:
    found = cell_result(torch.tensor([1.0, float("inf")]))
    assert (found.mean, found.interval) == (None, None)


def test_every_part_has_a_name_of_its_own() -> None:
    for comparison in COMPARISONS.values():
        names = [name_of(part) for part in parts_of(comparison)]
        assert len(set(names)) == len(names)


@pytest.mark.parametrize("name", list(BASELINES["intents"]))
def test_baselines_tell_classes_apart_that_lie_apart(name: str) -> None:
    result = run_part(Part(small("intents", 1), PREFIX + name, "baseline"), made_up_data(), MINUTES)
    (cell,) = result.cells.values()
    assert cell.mean == 1.0
