"""Claims about safetensors bodies as functions: what is read of them, what is refused, and what that may cost."""

import json
import tracemalloc
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.numpy import load
from safetensors.torch import save as save_torch

from app.api.binary import adapt_request, answer_bytes, is_safetensors, predict_request, wants_safetensors
from innerloop.errors import (
    InnerloopError,
    InvalidId,
    InvalidRequest,
    InvalidTargets,
    NotFinite,
    NotJson,
    NotSafetensors,
    TooManyRows,
)
from innerloop.wire import AdaptRequest, Limits, PredictRequest
from tests.api.binary_bodies import X, Y, adapt_body, binary_body, read_answer

LIMITS = Limits()
VALID = [
    adapt_body(task_id="a", steps=3, ttl_seconds=None),
    adapt_body(),
    binary_body({"inputs": X}, task_id="a", revision=2),
    binary_body({"inputs": X, "support.inputs": X, "support.targets": Y}, model="sinusoid"),
    binary_body({"support.inputs": X, "support.targets": np.array([1, 0])}, classes=["cat", "dog"]),
]


def read(body: bytes) -> list[AdaptRequest | PredictRequest | InnerloopError]:
    """Return what both readers make of a body."""
    found: list[AdaptRequest | PredictRequest | InnerloopError] = []
    for reader in (adapt_request, predict_request):
        try:
            found.append(reader(body, LIMITS))
        except InnerloopError as error:
            found.append(error)
    return found


def test_tensors_stand_where_json_has_rows() -> None:
    body = binary_body(
        {"support.inputs": X, "support.targets": Y, "validation.inputs": X, "validation.targets": Y},
        task_id="a",
        steps=3,
        ttl_seconds=None,
    )
    request = adapt_request(body, LIMITS)
    assert np.array_equal(request.support.inputs, X)
    assert np.array_equal(request.support.targets, Y)
    assert request.validation is not None
    assert np.array_equal(request.validation.inputs, X)
    assert (request.task_id, request.steps) == ("a", 3)
    assert request.model_fields_set == {"task_id", "steps", "ttl_seconds", "support", "validation"}


def test_prediction_is_read_with_and_without_a_support() -> None:
    assert predict_request(binary_body({"inputs": X}, task_id="a"), LIMITS).task_id == "a"
    request = predict_request(binary_body({"inputs": X, "support.inputs": X, "support.targets": Y}), LIMITS)
    assert request.support is not None
    assert request.inputs.dtype == np.float32


@pytest.mark.parametrize("dtype", [np.float64, np.float32, np.float16, np.uint8])
def test_inputs_are_views_of_the_body(dtype: Any) -> None:
    body = bytearray(binary_body({"inputs": np.arange(6).reshape(3, 2).astype(dtype)}, task_id="a"))
    inputs = predict_request(body, LIMITS).inputs
    assert inputs.tolist() == [[0, 1], [2, 3], [4, 5]]
    assert np.shares_memory(inputs, np.frombuffer(body, dtype=np.uint8))


def test_bfloat16_is_read() -> None:
    numbers = torch.tensor([[1.5], [-3.0e38], [0.1]], dtype=torch.bfloat16)
    body = save_torch({"inputs": numbers}, {"request": '{"task_id": "a"}'})
    assert np.array_equal(predict_request(body, LIMITS).inputs, numbers.float().numpy())


def test_class_indexes_become_the_names_that_json_would_have() -> None:
    body = binary_body({"support.inputs": X, "support.targets": np.array([1, 0])}, classes=["cat", "dog"])
    assert adapt_request(body, LIMITS).support.targets == ["dog", "cat"]


def test_whole_numbers_without_names_stay_whole_numbers() -> None:
    body = binary_body({"support.inputs": X, "support.targets": np.array([7, 3])})
    assert adapt_request(body, LIMITS).support.targets.dtype == np.int64


def test_rows_that_are_no_tensors_may_stand_in_the_request() -> None:
    request = adapt_request(binary_body({"support.inputs": X}, support={"targets": ["a", "b"]}), LIMITS)
    assert request.support.targets == ["a", "b"]


def test_metadata_that_libraries_add_is_taken() -> None:
    body = save_torch({"inputs": torch.zeros(1, 1)}, {"format": "pt", "request": '{"task_id": "a"}'})
    assert predict_request(body, LIMITS).task_id == "a"


def adapting(tensors: dict[str, Any], **request: Any) -> bytes:
    return binary_body({"support.inputs": X, "support.targets": Y, **tensors}, **request)


CLASSES: dict[str, Any] = {"support.inputs": X, "support.targets": np.array([0, 1])}
REFUSED: dict[str, tuple[bytes, type[InnerloopError], str]] = {
    "another name": (adapting({"inputs": X}), InvalidRequest, "there is a tensor 'inputs'; taken here are support."),
    "int32 inputs": (adapting({"support.inputs": X.astype(np.int32)}), InvalidRequest, "is of type I32; taken are F32"),
    "int64 inputs": (adapting({"support.inputs": X.astype(np.int64)}), InvalidRequest, "is of type I64"),
    "boolean inputs": (adapting({"support.inputs": X > 0}), InvalidRequest, "is of type BOOL"),
    "bytes as targets": (adapting({"support.targets": Y.astype(np.uint8)}), InvalidRequest, "is of type U8"),
    "a number for rows": (adapting({"support.inputs": np.array(1.0)}), InvalidRequest, "first axis"),
    "too many rows": (adapting({"support.inputs": np.zeros((1001, 1))}), TooManyRows, "1001 rows; at most 1000"),
    "many rows of nothing": (adapting({"support.inputs": np.zeros((1001, 0))}), TooManyRows, "has 1001 rows"),
    "too many to validate": (adapting({"validation.inputs": np.zeros((10001, 1))}), TooManyRows, "max_query_rows"),
    "a request that is no JSON": (save_torch({}, {"request": "{"}), NotJson, "the metadata's 'request' is not JSON"),
    "a request of NaN": (
        save_torch({}, {"request": '{"steps": NaN}'}),
        NotFinite,
        "the metadata's 'request' holds NaN",
    ),
    "a request that is a list": (save_torch({}, {"request": "[]"}), InvalidRequest, "is a JSON array; an object"),
    "fields outside the request": (save_torch({}, {"task_id": "a"}), InvalidRequest, "a key 'task_id'; the fields bel"),
    "no rows": (binary_body({}, task_id="a"), InvalidRequest, "support"),
    "no targets": (binary_body({"support.inputs": X}), InvalidRequest, "support.targets"),
    "an unknown field": (adapting({}, owner="me"), InvalidRequest, "owner"),
    "a wrong id": (adapting({}, task_id="../a"), InvalidId, "task_id"),
    "rows twice": (adapting({}, support={"inputs": [[1]]}), InvalidRequest, "support.inputs is a tensor and stands"),
    "a support that is no object": (adapting({}, support=[1]), InvalidRequest, "support in the metadata's 'request'"),
    "names without indexes": (adapting({}, classes=["a", "b"]), InvalidRequest, "targets of type I64"),
    "names of two kinds": (binary_body(CLASSES, classes=["a", 1]), InvalidTargets, "no list of class names"),
    "boolean names": (binary_body(CLASSES, classes=[True, False]), InvalidTargets, "no list of class names"),
    "names that are no list": (binary_body(CLASSES, classes="ab"), InvalidTargets, "no list of class names"),
    "lists for names": (binary_body(CLASSES, classes=[["a"], ["b"]]), InvalidTargets, "no list of class names"),
    "the same name twice": (binary_body(CLASSES, classes=["a", "a"]), InvalidTargets, "each there once"),
    "an index past the names": (
        binary_body({**CLASSES, "support.targets": np.array([0, 2])}, classes=["a", "b"]),
        InvalidTargets,
        r"support.targets\[1\] is 2; classes has 2 names",
    ),
    "a negative index": (
        binary_body({**CLASSES, "support.targets": np.array([-1, 0])}, classes=["a", "b"]),
        InvalidTargets,
        r"support.targets\[0\] is -1",
    ),
    "indexes of two axes": (
        binary_body({**CLASSES, "support.targets": np.array([[0], [1]])}, classes=["a", "b"]),
        InvalidTargets,
        "class indexes are one a row",
    ),
}


@pytest.mark.parametrize(("body", "kind", "detail"), REFUSED.values(), ids=REFUSED)
def test_wrong_body_is_refused_with_what_is_wrong(body: bytes, kind: type[InnerloopError], detail: str) -> None:
    with pytest.raises(kind, match=detail):
        adapt_request(body, LIMITS)


def test_file_that_is_none_is_refused() -> None:
    with pytest.raises(NotSafetensors, match="the body is not a safetensors file: the header would end at byte"):
        adapt_request(b"PK\x03\x04 not this format", LIMITS)


@given(st.data())
def test_mutated_body_is_a_request_or_an_error_of_ours(data: st.DataObject) -> None:
    valid = data.draw(st.sampled_from(VALID))
    at = data.draw(st.integers(0, len(valid)))
    mutated = valid[:at] + data.draw(st.binary(max_size=4)) + valid[at + data.draw(st.integers(0, 4)) :]
    assert len(read(mutated)) == 2


@given(
    st.integers(0, 400),
    st.dictionaries(
        st.text(max_size=12),
        st.recursive(
            st.none() | st.integers() | st.text(max_size=8),
            lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
        ),
        max_size=4,
    ),
    st.binary(max_size=64),
)
def test_any_header_is_a_request_or_an_error_of_ours(lie: int, header: dict[str, Any], tail: bytes) -> None:
    text = json.dumps(header).encode()
    assert len(read(len(text).to_bytes(8, "little") + text + tail)) == 2
    assert len(read(lie.to_bytes(8, "little") + text + tail)) == 2


@given(st.binary(max_size=200))
def test_arbitrary_bytes_are_an_error_of_ours(body: bytes) -> None:
    assert all(isinstance(found, InnerloopError) for found in read(body))


@pytest.mark.parametrize("dtype", ["F64", "F32", "F16", "BF16", "U8"])
@pytest.mark.parametrize("shape", [[2**31, 2**20], [10_000, 2**40], [1, 2**62], [0, 2**62], [2**32, 2**32]])
def test_declared_sizes_cost_nothing_before_they_are_checked(dtype: str, shape: list[int]) -> None:
    entry = {"dtype": dtype, "shape": shape, "data_offsets": [0, 8]}
    text = json.dumps({"__metadata__": {"request": "{}"}, "inputs": entry}).encode()
    body = len(text).to_bytes(8, "little") + text + bytes(8)
    tracemalloc.start()
    try:
        with pytest.raises(InnerloopError):
            predict_request(body, LIMITS)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 100_000


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.float16, torch.bfloat16, torch.uint8])
def test_reading_costs_a_small_multiple_of_the_body(dtype: torch.dtype) -> None:
    body = save_torch({"inputs": torch.zeros(1000, 1000).to(dtype)}, {"request": '{"task_id": "a"}'})
    tracemalloc.start()
    try:
        predict_request(body, LIMITS)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 5 * len(body) if dtype == torch.bfloat16 else peak < 100_000


def test_answer_holds_arrays_as_tensors_and_all_else_as_json() -> None:
    probabilities = np.array([[0.25, 0.75]], dtype=np.float32)
    fields = {"task_id": "ä", "labels": ["b"], "probabilities": probabilities, "classes": ["a", "b"], "revision": None}
    data = answer_bytes(fields)
    assert np.array_equal(load(data)["probabilities"], probabilities)
    told, tail = read_answer(data)
    assert told == {"task_id": "ä", "labels": ["b"], "classes": ["a", "b"], "revision": None}
    assert tail == probabilities.tobytes()


@pytest.mark.parametrize("outputs", [np.zeros((0, 1), np.float32), np.zeros((4, 6), np.float32)[:, ::2]])
def test_answer_holds_empty_arrays_and_parts_of_others(outputs: Any) -> None:
    assert np.array_equal(load(answer_bytes({"outputs": outputs}))["outputs"], outputs)


def test_answer_without_arrays_is_a_file_without_tensors() -> None:
    data = answer_bytes({"task_id": "a", "support_loss": [0.5, None]})
    assert load(data) == {}
    assert read_answer(data) == ({"task_id": "a", "support_loss": [0.5, None]}, b"")


@pytest.mark.parametrize(
    ("accept", "wanted"),
    [
        (None, False),
        ("*/*", False),
        ("application/json", False),
        ("application/vnd.safetensors", True),
        ("Application/VND.safetensors ; q=0.5, */*", True),
        ("application/vnd.safetensors;q=0", False),
        ("application/vnd.safetensors;q=x", False),
        ("application/json, application/vnd.safetensors;q=0.9", False),
        ("application/json;q=0.9, application/vnd.safetensors", True),
        ("application/json, application/vnd.safetensors", True),
    ],
)
def test_accept_header_chooses_the_form_of_the_answer(accept: str | None, wanted: bool) -> None:
    assert wants_safetensors(accept) is wanted


def test_content_type_tells_such_a_body() -> None:
    assert is_safetensors("application/vnd.safetensors; charset=binary")
    assert not is_safetensors("application/json")
    assert not is_safetensors(None)
