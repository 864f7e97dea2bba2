"""The same support under the same settings gives the same weights: to the bit in batches of one shape, else closely."""

from hashlib import sha256

import pytest
import torch
from torch import Tensor

from app.engine import executor
from app.engine.executor import Adapted, AdaptWork
from app.episode import Support, Tree
from app.jobs.model_files import model_of as model_of_files
from app.jobs.model_files import shipped_models
from app.learners.model import Model
from app.settings import REPOSITORY
from tests.engine.one_task import CPU
from tests.engine.test_engine_batching import LEARNERS, model_of, support_of

SHIPPED = {"sinusoid": 1, "telemonitoring": 19}
"""Models of numbers and how many they take in a row."""
BATCHES = (1, 2, 3, 8, 32)
CLOSE = 1e-5
"""Of a leaf whose numbers stay below 1; of a larger one in proportion: float32 has seven digits."""


def together(works: list[AdaptWork]) -> list[Adapted]:
    outcomes = executor.adapt_many(works, executor.stacked(works, CPU), CPU)
    assert all(isinstance(outcome, Adapted) for outcome in outcomes)
    return [outcome for outcome in outcomes if isinstance(outcome, Adapted)]


def works_of(model: Model, num_tasks: int, first_seed: int) -> list[AdaptWork]:
    """Return tasks of one shape, of which the first is the same whatever the others are."""
    steps = model.learner.traits.steps
    seeds = [0, *range(first_seed, first_seed + num_tasks - 1)]
    return [AdaptWork(model, support_of(model, 8, 4, seed), steps) for seed in seeds]


def digest(adapted: Adapted) -> str:
    return sha256(adapted.params.as_bytes()).hexdigest()


@pytest.mark.parametrize("num_tasks", BATCHES)
@pytest.mark.parametrize("name", LEARNERS)
def test_weights_are_the_same_to_the_bit_in_batches_of_one_shape(name: str, num_tasks: int) -> None:
    model = model_of(name)
    first, again = (together(works_of(model, num_tasks, 1)) for _ in range(2))
    beside_others = together(works_of(model, num_tasks, 100))
    assert [digest(one) for one in first] == [digest(one) for one in again]
    assert digest(beside_others[0]) == digest(first[0])
    assert len({digest(one) for one in [*first, *beside_others[1:]]}) == 2 * num_tasks - 1  # other tasks, other weights


@pytest.mark.parametrize("name", LEARNERS)
def test_weights_are_close_in_batches_of_other_shapes(name: str) -> None:
    model = model_of(name)
    (alone,) = together(works_of(model, 1, 1))
    for num_tasks in BATCHES[1:]:
        found = together(works_of(model, num_tasks, 1))[0]
        apart = largest_difference(found.params.tree(), alone.params.tree())
        assert apart <= CLOSE, num_tasks


@pytest.mark.parametrize("name", SHIPPED)
def test_shipped_models_repeat_themselves_to_the_bit_and_closely_in_other_batches(name: str) -> None:
    (files,) = [files for files in shipped_models(REPOSITORY / "models") if files.card.name == name]
    model = model_of_files(files)
    rows, no_classes = torch.ones(10, dtype=torch.bool), torch.ones(0, dtype=torch.bool)
    steps = model.card.default_steps
    assert steps

    def work(seed: int) -> AdaptWork:
        drawn = torch.randn(10, SHIPPED[name] + 1, generator=torch.Generator().manual_seed(seed))
        return AdaptWork(model, Support(drawn[:, 1:], drawn[:, :1], rows, no_classes), steps)

    (alone,) = together([work(0)])
    for num_tasks in BATCHES:
        works = [work(seed) for seed in range(num_tasks)]
        found = together(works)
        assert [digest(one) for one in found] == [digest(one) for one in together(works)]
        assert largest_difference(found[0].params.tree(), alone.params.tree()) <= CLOSE, num_tasks


def largest_difference(found: Tree, expected: Tree) -> float:
    assert found.keys() == expected.keys()
    return max(float(difference(found[leaf].double(), leaf_then.double())) for leaf, leaf_then in expected.items())


def difference(found: Tensor, expected: Tensor) -> Tensor:
    return (found - expected).abs().max() / expected.abs().max().clamp(min=1.0)
