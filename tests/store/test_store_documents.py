import json
from enum import IntEnum
from typing import Any, NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.store.documents import as_document, dump_json, load_json

SCALARS = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text()
SURROGATES = st.text(st.characters(), max_size=3)
VALUES = st.recursive(
    SCALARS | SURROGATES,
    lambda values: st.lists(values) | st.tuples(values, values) | st.dictionaries(SURROGATES | st.integers(), values),
    max_leaves=8,
)


class Kind(IntEnum):
    ONE = 1


class Pair(NamedTuple):
    left: int
    right: float | None


@given(VALUES)
@settings(max_examples=300, deadline=None, derandomize=True, database=None)
def test_document_is_that_of_the_standard_library(value: Any) -> None:
    stored = json.loads(json.dumps(value))
    document = as_document(value)
    assert document.value == stored
    assert json.loads(document.text) == stored
    assert document.text.isascii()


@given(VALUES)
@settings(max_examples=300, deadline=None, derandomize=True, database=None)
def test_what_fits_into_64_bits_comes_back(value: Any) -> None:
    stored = json.loads(json.dumps(value), parse_int=lambda digits: max(-(2**63), min(2**63 - 1, int(digits))))
    assert load_json(dump_json(stored)) == stored


@pytest.mark.parametrize("value", [{"a": Kind.ONE}, Pair(1, None), {1: {None: True}}, [2**80]])
def test_values_that_only_the_standard_library_knows_are_taken(value: Any) -> None:
    assert as_document(value).value == json.loads(json.dumps(value))


@pytest.mark.parametrize("number", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("wrapped", [lambda x: x, lambda x: [None, x], lambda x: {"a": None, "b": ("null", [x])}])
def test_what_is_no_number_is_refused(number: float, wrapped: Any) -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        dump_json(wrapped(number))


def test_what_is_no_json_is_refused() -> None:
    with pytest.raises(TypeError):
        dump_json({"a": b"bytes"})
