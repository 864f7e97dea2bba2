"""Claims about how rows become JSON."""

import base64
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from innerloop.encoding import encode
from innerloop.errors import InvalidRequest, NotFinite, UnreadableFile


def sent(value: Any) -> Any:
    return json.loads(encode({"rows": value}))["rows"]


@given(st.lists(st.lists(st.floats(allow_nan=False, allow_infinity=False))))
def test_lists_arrive_as_they_are(rows: list[list[float]]) -> None:
    assert sent(rows) == rows


@given(st.lists(st.floats(width=32, allow_nan=False, allow_infinity=False), min_size=1))
def test_float32_arrives_exactly(row: list[float]) -> None:
    array = np.array([row], dtype=np.float32)
    assert np.array_equal(np.array(sent(array), dtype=np.float32), array)


def test_arrays_are_sent_as_nested_lists() -> None:
    assert sent(np.arange(6.0).reshape(2, 3)) == [[0, 1, 2], [3, 4, 5]]
    assert sent(np.array(["cat", "dog"])) == ["cat", "dog"]
    assert sent(np.array([3, 1])) == [3, 1]
    assert sent([np.float32(0.5), np.int64(2), np.array([1.0])]) == [0.5, 2, [1.0]]


def test_pictures_are_sent_in_base64(tmp_path: Path) -> None:
    picture = tmp_path / "a.png"
    picture.write_bytes(b"\x89PNG")
    text = base64.b64encode(b"\x89PNG").decode()
    assert sent([picture, b"\x89PNG", text]) == [text] * 3


@pytest.mark.parametrize(
    ("body", "place"),
    [
        ({"inputs": [[0.0], [float("nan")]]}, "inputs[1][0] is nan"),
        ({"support": {"targets": [1.0, float("-inf")]}}, "support.targets[1] is -inf"),
        ({"inputs": np.array([[1.0, np.inf]])}, "inputs[0][1] is inf"),
        ({"inputs": np.array([[1e300]])}, "inputs[0][0] is inf"),
        ({"inputs": [[1.0], np.array([np.nan])]}, "inputs[1][0] is nan"),
        ({"learning_rate": float("nan")}, "learning_rate is nan"),
    ],
)
def test_number_that_is_not_finite_is_named(body: dict[str, Any], place: str) -> None:
    with pytest.raises(NotFinite, match="finite float32") as caught:
        encode(body)
    assert caught.value.detail.startswith(place)


@pytest.mark.parametrize("value", [object(), {1, 2}, np.array([1 + 2j]), np.array(["2026-01-01"], "M8[D]")])
def test_value_that_json_cannot_hold_is_refused(value: object) -> None:
    with pytest.raises(InvalidRequest, match="cannot be sent"):
        encode({"inputs": value})


def test_picture_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(UnreadableFile, match=r"gone\.png cannot be read"):
        encode({"inputs": [tmp_path / "gone.png"]})
