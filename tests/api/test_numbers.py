"""Claims about how nested lists and arrays become float32, and how what is none of that is refused."""

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.api.numbers import CHUNK_NUMBERS, numbers
from innerloop.errors import InvalidRequest, NotFinite, ShapeMismatch

SHAPES = [(), (1,), (3,), (2, 3), (1, 2, 2)]
NUMBERS = st.one_of(
    st.floats(width=32, allow_nan=False, allow_infinity=False),
    st.integers(-(2**63), 2**63 - 1),
    st.sampled_from([0, 1]),
)
NO_NUMBERS: list[Any] = [True, False, None, "1", "", [1.0], {}, {"a": 1}]


def of(value: Any, shape: tuple[int, ...]) -> Any:
    return numbers(value, "inputs", shape, "m@1")


@st.composite
def rows_and_shape(draw: st.DrawFn) -> tuple[list[Any], tuple[int, ...]]:
    shape = draw(st.sampled_from(SHAPES))
    num_rows = draw(st.integers(0, 5))
    flat = draw(st.lists(NUMBERS, min_size=num_rows * math.prod(shape), max_size=num_rows * math.prod(shape)))
    rows: Any = flat
    for size in reversed(shape):
        rows = [rows[i : i + size] for i in range(0, len(rows), size)]
    return rows, shape


@given(rows_and_shape())
def test_lists_of_a_shape_become_what_numpy_makes_of_them(given_rows: tuple[list[Any], tuple[int, ...]]) -> None:
    rows, shape = given_rows
    array = of(rows, shape)
    assert array.dtype == np.float32
    assert array.shape == (len(rows), *shape)
    assert np.array_equal(array, np.array(rows, dtype=np.float64).astype(np.float32).reshape(array.shape))


@pytest.mark.parametrize("num_rows", [CHUNK_NUMBERS - 1, CHUNK_NUMBERS, 2 * CHUNK_NUMBERS + 1])
@pytest.mark.parametrize("shape", [(), (1,), (3,)])
def test_order_is_kept_however_many_rows_there_are(num_rows: int, shape: tuple[int, ...]) -> None:
    rows = np.arange(num_rows * math.prod(shape), dtype=np.float64).reshape(num_rows, *shape)
    assert np.array_equal(of(rows.tolist(), shape), rows)


@pytest.mark.parametrize("wrong", NO_NUMBERS, ids=repr)
@pytest.mark.parametrize("value", [0.0, 1.0, 0, 1, 7.5])
@pytest.mark.parametrize("row", [0, 1, 2 * CHUNK_NUMBERS])
def test_first_row_that_holds_no_number_is_named(wrong: Any, value: float, row: int) -> None:
    rows: list[Any] = [[value, value] for _ in range(2 * CHUNK_NUMBERS + 2)]
    rows[row] = [value, wrong]
    rows[-1] = [wrong, wrong]
    with pytest.raises(InvalidRequest, match=rf"^inputs\[{row}\] is not 2 numbers"):
        of(rows, (2,))


@pytest.mark.parametrize(
    ("wrong", "found"),
    [([1.0], "1 number"), ([1.0, 2.0, 3.0], "3 numbers"), (1.0, "a bare number"), ([[1.0], [2.0]], r"shape \[2, 1\]")],
)
def test_first_row_of_another_shape_is_named(wrong: Any, found: str) -> None:
    with pytest.raises(ShapeMismatch, match=rf"^inputs\[1\] has {found}; m@1 takes 2$"):
        of([[1.0, 2.0], wrong, [5.0]], (2,))


@pytest.mark.parametrize("wrong", [[[1.0], [2.0, 3.0]], [[1.0, 2.0], 3.0], "ab", {"a": 1, "b": 2}, None])
def test_row_that_has_no_shape_is_named(wrong: Any) -> None:
    with pytest.raises(InvalidRequest, match=r"^inputs\[1\] is not"):
        of([[1.0, 2.0], wrong], (2,))


@pytest.mark.parametrize("large", [3.5e38, -1e300, math.inf, math.nan])
def test_number_that_no_float32_holds_is_named(large: float) -> None:
    with pytest.raises(NotFinite, match=r"^inputs\[1\]\[0\] is not finite"):
        of([[1.0, 2.0], [large, large]], (2,))
    with pytest.raises(NotFinite, match=r"^inputs\[1\]\[0\] is not finite"):
        of(np.array([[1.0, 2.0], [large, large]]), (2,))


@pytest.mark.parametrize("dtype", ["<f2", "<f4", "<f8", "|u1", "<i8", ">f4"])
def test_arrays_of_numbers_become_float32(dtype: str) -> None:
    array = of(np.arange(6).reshape(3, 2).astype(dtype), (2,))
    assert array.dtype == np.float32
    assert array.tolist() == [[0, 1], [2, 3], [4, 5]]


def test_array_of_float32_is_not_copied() -> None:
    given_array = np.ones((3, 2), dtype=np.float32)
    assert of(given_array, (2,)) is given_array


def test_array_without_rows_fits_every_shape() -> None:
    assert of(np.zeros((0, 9), dtype=np.float16), (2, 3)).shape == (0, 2, 3)


@pytest.mark.parametrize("array", [np.array([[True, False]]), np.array([["1", "2"]]), np.array([[1j, 2j]])])
def test_arrays_of_anything_else_are_refused(array: Any) -> None:
    with pytest.raises(InvalidRequest, match="is an array of"):
        of(array, (2,))


def test_array_of_another_shape_is_refused() -> None:
    with pytest.raises(ShapeMismatch, match=r"^inputs\[0\] has 3 numbers; m@1 takes 2$"):
        of(np.zeros((4, 3), dtype=np.float32), (2,))
