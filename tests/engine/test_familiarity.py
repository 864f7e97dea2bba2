"""Familiarity: where the losses of a support lie among those of tasks that a model was validated on."""

from typing import Any

import pytest

from app.card import Card
from app.engine.familiarity import familiarity, rank

QUARTERS = (0.0, 1.0, 2.0, 4.0, 8.0)


@pytest.mark.parametrize(
    ("quantiles", "value", "expected"),
    [
        (QUARTERS, -1.0, 0.0),
        (QUARTERS, 0.0, 0.0),
        (QUARTERS, 0.5, 0.125),
        (QUARTERS, 1.0, 0.25),
        (QUARTERS, 3.0, 0.625),
        (QUARTERS, 8.0, 1.0),
        (QUARTERS, 1e9, 1.0),
        ((0.0, 0.0, 0.0, 1.0, 2.0), 0.0, 0.25),
        ((1.0, 1.0, 1.0), 1.0, 0.5),
        ((1.0, 1.0, 1.0), 0.5, 0.0),
        ((1.0, 1.0, 1.0), 1.5, 1.0),
    ],
)
def test_rank_is_linear_between_quantiles_and_in_the_middle_of_equal_ones(
    quantiles: tuple[float, ...], value: float, expected: float
) -> None:
    assert rank(quantiles, value) == expected


def reference(ways: int | None, rows: int, offset: float = 0.0, steps: tuple[int, ...] = (0, 2)) -> dict[str, Any]:
    losses = {str(step): [offset + loss / (1 + step) for loss in QUARTERS] for step in steps}
    return {"ways": ways, "rows": rows, "loss_by_step": losses}


def card(*references: dict[str, Any], default_steps: int | None = 2) -> Card:
    return Card.model_validate(
        {
            "name": "mine",
            "learner": {"kind": "maml"},
            "network": {"kind": "mlp"},
            "loss": "squared",
            "input": {"kind": "vector", "shape": [1]},
            "output": {"kind": "regression", "shape": [1]},
            "num_train_classes": 0,
            "default_steps": default_steps,
            "max_steps": default_steps,
            "familiarity": references,
        }
    )


ONE_SIZE = card(reference(None, 10))


@pytest.mark.parametrize(
    ("trace", "before", "after"),
    [
        ([2.0, 9.0, 1 / 3], 0.5, 0.25),
        ([100.0, 9.0, 100.0], 1.0, 1.0),
        ([2.0], 0.5, None),  # no step was taken
        ([2.0, 1.0], 0.5, None),  # nothing is known of one step
        ([2.0, 1.0, 1 / 3, 0.1], 0.5, None),
        ([2.0, 9.0, 1 / 3, None, None], 0.5, 0.25),  # later steps diverged, and the second was kept
        ([2.0, 9.0, None], 0.5, None),
    ],
)
def test_losses_before_and_after_are_held_against_those_of_as_many_steps(
    trace: list[float | None], before: float, after: float | None
) -> None:
    assert familiarity(ONE_SIZE, trace, None, 10) == {"before": before, "after": after}


def test_learner_without_steps_has_nothing_before() -> None:
    found = familiarity(card(reference(5, 5, steps=(0,)), default_steps=None), [1.0], 5, 5)
    assert found == {"before": None, "after": 0.25}


def test_card_without_references_tells_nothing() -> None:
    assert familiarity(card(), [1.0, 2.0, 3.0], None, 10) is None


SIZES = [(2, 2), (2, 20), (5, 5), (5, 50), (20, 20), (20, 200)]
GRID = card(*(reference(ways, rows, offset=100.0 * i) for i, (ways, rows) in enumerate(SIZES)))


@pytest.mark.parametrize(
    ("ways", "rows", "nearest"),
    [
        *((*size, size) for size in SIZES),
        (3, 3, (2, 2)),
        (4, 4, (5, 5)),
        (9, 9, (5, 5)),
        (12, 12, (20, 20)),
        (100, 1000, (20, 200)),
        (5, 15, (5, 5)),
        (5, 17, (5, 50)),
        (2, 1000, (2, 20)),
        (1, 1, (2, 2)),
    ],
)
def test_reference_is_the_one_nearest_in_ways_and_rows_a_class(ways: int, rows: int, nearest: tuple[int, int]) -> None:
    median = 100.0 * SIZES.index(nearest) + 2.0
    assert familiarity(GRID, [median], ways, rows) == {"before": 0.5, "after": None}


def test_sizes_of_regression_are_their_rows() -> None:
    sizes = card(reference(None, 5), reference(None, 50, offset=100.0))
    assert [familiarity(sizes, [102.0], None, rows) for rows in (1, 15, 17, 1000)] == [
        {"before": share, "after": None} for share in (1.0, 1.0, 0.5, 0.5)
    ]
