"""Which tasks go together: those whose parameters have the same shape, whatever was padded."""

import pytest

from app.engine.buckets import Shapes, adapt_bucket, padded_length, shapes_of
from tests.engine.test_engine_batching import LEARNERS, model_of, support_of

DEPENDS = {
    "all weights": Shapes(by_rows=False, by_classes=False),
    "a head of its own ways": Shapes(by_rows=False, by_classes=True),
    "prototypes": Shapes(by_rows=False, by_classes=True),
    "rows": Shapes(by_rows=True, by_classes=True),
    "closed form": Shapes(by_rows=False, by_classes=True),
    "memory": Shapes(by_rows=False, by_classes=False),
}


@pytest.mark.parametrize("name", LEARNERS)
def test_what_parameters_have_the_shape_of_is_found_by_trying(name: str) -> None:
    assert shapes_of(model_of(name)) == DEPENDS[name]


def test_padding_adds_at_most_half() -> None:
    assert [padded_length(n) for n in (0, 1, 2, 3, 4, 5, 6, 7, 9, 12, 13, 17, 25)] == [
        0, 1, 2, 3, 4, 6, 6, 8, 12, 12, 16, 24, 32
    ]  # fmt: skip
    assert all(n <= padded_length(n) <= max(1, 1.5 * n) for n in range(2, 3000))
    assert all(padded_length(padded_length(n)) == padded_length(n) for n in range(3000))


def test_rows_of_about_a_number_share_a_bucket_where_parameters_hold_none() -> None:
    weights, rows = model_of("all weights"), model_of("rows")
    for model, share in ((weights, True), (rows, False)):
        shapes = shapes_of(model)
        first, second = (
            adapt_bucket(model, shapes, support_of(model, n, 3, 0), 2, wants_estimate=False) for n in (7, 8)
        )
        assert (first == second) is share


def test_steps_and_estimates_are_not_mixed() -> None:
    model = model_of("all weights")
    shapes, support = shapes_of(model), support_of(model, 6, 3, 0)
    buckets = {
        adapt_bucket(model, shapes, support, steps, wants_estimate=wanted)
        for steps in (1, 2)
        for wanted in (True, False)
    }
    assert len(buckets) == 4
