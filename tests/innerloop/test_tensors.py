"""Claims about binary requests and answers of both clients."""

import base64
import json
from typing import Any

import httpx
import numpy as np
import pytest
from safetensors.numpy import load, save

from innerloop import errors, wire
from innerloop.tensors import encode_tensors
from tests.innerloop.client_calls import ABSTAINED, ADAPTED, PREDICTED
from tests.innerloop.shells import Shell

MEDIA_TYPE = "application/vnd.safetensors"
X = np.array([[-1.2], [0.4]])


def parts_of(body: bytes) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the tensors of a body, and its fields."""
    header = json.loads(body[8 : 8 + int.from_bytes(body[:8], "little")])
    return load(body), json.loads(header["__metadata__"]["request"])


def answered(fields: dict[str, Any], **arrays: Any) -> httpx.Response:
    return httpx.Response(200, content=save(arrays, {"response": json.dumps(fields)}))


async def test_arrays_are_sent_as_tensors_and_all_else_beside_them(shell: Shell) -> None:
    seen: list[httpx.Request] = []

    def handler(request: httpx.Request) -> httpx.Response:
        seen.append(request)
        return answered(ADAPTED)

    targets = np.array(["cat", "dog"])
    answer = await shell(
        handler,
        lambda client: client.adapt(
            X, targets, task_id="a", validation=(X, [1, 2]), ttl_seconds=None, timeout_ms=5, binary=True
        ),
    )
    assert answer == wire.AdaptAnswer.model_validate(ADAPTED)
    (request,) = seen
    assert request.headers["Content-Type"] == request.headers["Accept"] == MEDIA_TYPE
    assert request.headers["X-Request-Timeout-Ms"] == "5"
    assert request.headers["Idempotency-Key"]
    tensors, fields = parts_of(request.content)
    assert tensors.keys() == {"support.inputs", "validation.inputs"}
    assert tensors["support.inputs"].dtype == np.float32
    assert fields == {
        "support": {"targets": ["cat", "dog"]},
        "validation": {"targets": [1, 2]},
        "task_id": "a",
        "ttl_seconds": None,
    }


async def test_outputs_of_a_binary_answer_are_read(shell: Shell) -> None:
    fields = {name: value for name, value in PREDICTED.items() if name != "outputs"}

    def handler(request: httpx.Request) -> httpx.Response:
        assert parts_of(request.content)[1] == {"task_id": "a"}
        return answered(fields, outputs=np.array([[0.5], [0.25]], dtype=np.float32))

    answer = await shell(handler, lambda client: client.predict(X, task_id="a", binary=True))
    assert answer == wire.PredictAnswer.model_validate({**fields, "outputs": [[0.5], [0.25]]})


async def test_probabilities_of_a_binary_answer_are_read(shell: Shell) -> None:
    fields = {name: value for name, value in ABSTAINED.items() if name != "probabilities"}
    probabilities = np.array([[0.5, 0.5], [0.25, 0.75]], dtype=np.float32)
    answer = await shell(
        lambda request: answered(fields, probabilities=probabilities),
        lambda client: client.predict(X, task_id="a", binary=True),
    )
    assert answer.probabilities == probabilities.tolist()
    assert answer.labels == [None, "b"]


@pytest.mark.parametrize("body", [b"", b"{}", save({}, {"other": "{}"}), save({}), save({}, {"response": "["})])
async def test_answer_of_another_form_is_unexpected(shell: Shell, body: bytes) -> None:
    with pytest.raises(errors.UnexpectedAnswer):
        await shell(
            lambda request: httpx.Response(200, content=body),
            lambda client: client.predict(X, task_id="a", binary=True),
        )


async def test_problem_is_read_whatever_form_was_asked_for(shell: Shell) -> None:
    problem = {"code": "shape-mismatch", "detail": "inputs[0] has 2 numbers"}
    with pytest.raises(errors.ShapeMismatch):
        await shell(
            lambda request: httpx.Response(422, json=problem),
            lambda client: client.predict(X, task_id="a", binary=True),
        )


@pytest.mark.parametrize(
    ("array", "dtype"),
    [
        (np.zeros((2, 1), np.float64), np.float32),
        (np.zeros((2, 1), np.float16), np.float16),
        (np.zeros((2, 1), np.uint8), np.uint8),
        (np.zeros((2, 1), np.int32), np.float32),
        (np.zeros((4, 3), np.float32)[::2, ::2], np.float32),
    ],
)
def test_inputs_keep_the_types_that_the_service_takes(array: Any, dtype: Any) -> None:
    tensors, _ = parts_of(encode_tensors({"inputs": array}))
    assert tensors["inputs"].dtype == dtype
    assert np.array_equal(tensors["inputs"], array)


def test_targets_of_whole_numbers_stay_whole() -> None:
    tensors, _ = parts_of(encode_tensors({"support": {"inputs": X, "targets": np.array([3, 1], dtype=np.uint8)}}))
    assert tensors["support.targets"].dtype == np.int64


@pytest.mark.parametrize("rows", [[[1.0]], ["a sentence"], np.array([[True]]), np.array([2**64 - 1], dtype=np.uint64)])
def test_what_has_no_tensor_goes_as_json(rows: Any) -> None:
    tensors, fields = parts_of(encode_tensors({"support": {"targets": rows}}))
    assert tensors == {}
    assert fields == {"support": {"targets": rows if isinstance(rows, list) else rows.tolist()}}


def test_pictures_go_as_json() -> None:
    _, fields = parts_of(encode_tensors({"inputs": [b"\x89PNG"]}))
    assert fields == {"inputs": [base64.b64encode(b"\x89PNG").decode()]}


@pytest.mark.parametrize("number", [float("nan"), float("-inf"), 1e300])
def test_number_that_no_float32_holds_is_named(number: float) -> None:
    with pytest.raises(errors.NotFinite, match=r"^support\.inputs\[1\]\[0\] is "):
        encode_tensors({"support": {"inputs": np.array([[1.0], [number]])}})
