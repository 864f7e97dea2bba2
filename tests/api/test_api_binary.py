"""Claims about safetensors on /adapt and /predict: the same answers as JSON, and problem documents for the rest."""

import gzip
import json
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import numpy as np
import pytest
from safetensors.numpy import load

from innerloop import AsyncClient, Client
from innerloop.errors import ShapeMismatch
from innerloop.wire import AdaptAnswer
from tests.api.asking import SUPPORT, adapt, close, outputs, predict, problem_of
from tests.api.binary_bodies import MEDIA_TYPE, X, Y, adapt_body, binary_body, read_answer
from tests.api.drawings import MODEL, picture, rows_of
from tests.api.service import Service

SENT = {"Content-Type": MEDIA_TYPE}
BOTH = {**SENT, "Accept": MEDIA_TYPE}
QUERIES = np.array([[0.5], [1.5], [-2.0]], dtype=np.float32)


def post(http: httpx.Client, path: str, body: bytes, headers: dict[str, str] = SENT) -> httpx.Response:
    return http.post(path, content=body, headers=headers)


def test_binary_support_is_the_support_that_json_sends(http: httpx.Client, task_id: str) -> None:
    made = AdaptAnswer.model_validate_json(post(http, "/adapt", adapt_body(task_id=task_id, steps=2)).content)
    assert (made.revision, made.support_size, made.cached) == (1, 2, False)
    again = adapt(http, status=200, task_id=task_id, steps=2, support=SUPPORT)
    assert (again.revision, again.cached) == (1, True)


def test_answer_of_adapt_comes_as_safetensors(http: httpx.Client, task_id: str) -> None:
    response = post(http, "/adapt", adapt_body(task_id=task_id), BOTH)
    assert response.status_code == 201
    assert response.headers["Content-Type"] == MEDIA_TYPE
    assert response.headers["Location"] == f"/tasks/{task_id}"
    fields, tail = read_answer(response.content)
    assert AdaptAnswer.model_validate(fields).task_id == task_id
    assert tail == b""


def test_binary_predictions_are_those_of_json(http: httpx.Client, task_id: str) -> None:
    adapt(http, task_id=task_id)
    body = binary_body({"inputs": QUERIES}, task_id=task_id)
    expected = outputs(http, task_id=task_id, inputs=QUERIES.tolist())
    answer = post(http, "/predict", body, BOTH)
    assert answer.headers["Content-Type"] == MEDIA_TYPE
    found = load(answer.content)["outputs"]
    assert found.dtype == np.float32
    assert close(found.tolist(), expected)
    fields, _ = read_answer(answer.content)
    assert (fields["task_id"], fields["revision"], fields["model"]) == (task_id, 1, "sinusoid")
    assert fields["timing_ms"].keys() == {"queue", "compute", "total"}
    assert close(post(http, "/predict", body).json()["outputs"], expected)


def test_json_may_be_answered_in_safetensors(http: httpx.Client, task_id: str) -> None:
    adapt(http, task_id=task_id)
    response = http.post("/predict", json={"task_id": task_id, "inputs": [[0.5]]}, headers={"Accept": MEDIA_TYPE})
    assert load(response.content)["outputs"].shape == (1, 1)


def test_stateless_prediction_with_validation_of_types(http: httpx.Client) -> None:
    wide = {"support.inputs": X.astype(np.float64), "support.targets": Y, "inputs": QUERIES.astype(np.float16)}
    found = post(http, "/predict", binary_body(wide, model="sinusoid", steps=1)).json()["outputs"]
    assert close(found, outputs(http, model="sinusoid", steps=1, support=SUPPORT, inputs=QUERIES.tolist()))


def test_classes_and_bytes_of_pictures(http: httpx.Client, task_id: str) -> None:
    support = rows_of(["b", "a"], [2, 2])
    tones = np.stack([np.asarray(picture(c, n).resize((28, 28)), dtype=np.uint8)[None] for n in (0, 1) for c in (0, 1)])
    tensors = {"support.inputs": tones, "support.targets": np.array([1, 0, 1, 0])}
    made = post(http, "/adapt", binary_body(tensors, task_id=task_id, model=MODEL, classes=["a", "b"])).json()
    assert made["classes"] == ["b", "a"]  # as they first appear among the rows
    assert made["support_size"] == len(support["targets"])
    answer = post(http, "/predict", binary_body({"inputs": tones}, task_id=task_id), BOTH)
    fields, _ = read_answer(answer.content)
    found = predict(http, task_id=task_id, inputs=(tones / 255.0).tolist())
    assert close(load(answer.content)["probabilities"].tolist(), found.probabilities)
    assert (fields["labels"], fields["classes"]) == (found.labels, ["b", "a"])


def test_whole_numbers_are_class_names_where_no_names_are_given(http: httpx.Client, task_id: str) -> None:
    tones = np.stack([np.asarray(picture(c, 0).resize((28, 28)), dtype=np.uint8)[None] for c in (0, 1)])
    body = binary_body({"support.inputs": tones, "support.targets": np.array([7, 3])}, task_id=task_id, model=MODEL)
    assert post(http, "/adapt", body).json()["classes"] == [7, 3]


def test_tensors_that_lie_at_odd_bytes_are_read(http: httpx.Client, task_id: str) -> None:
    entries = {
        "support.inputs": {"dtype": "U8", "shape": [3, 1], "data_offsets": [0, 3]},
        "support.targets": {"dtype": "F32", "shape": [3], "data_offsets": [3, 15]},
        "__metadata__": {"request": json.dumps({"task_id": task_id})},
    }
    targets = np.array([0.5, 1.5, -1.0], dtype=np.float32)
    assert post(http, "/adapt", header_body(entries, bytes([0, 1, 2]) + targets.tobytes())).status_code == 201
    same = {"inputs": [[0], [1], [2]], "targets": targets.tolist()}
    assert adapt(http, status=200, task_id=task_id, support=same).cached


def test_binary_rows_are_appended_and_validated(http: httpx.Client, task_id: str) -> None:
    adapt(http, task_id=task_id, support=SUPPORT)
    body = binary_body(
        {"support.inputs": X, "support.targets": Y[:, None], "validation.inputs": X, "validation.targets": Y},
        task_id=task_id,
        append=True,
    )
    made = post(http, "/adapt", body).json()
    assert (made["revision"], made["support_size"]) == (2, 4)
    assert made["validation"]["after"]["loss"] >= 0.0


def test_idempotent_binary_request_is_answered_again(http: httpx.Client, task_id: str) -> None:
    headers = {**BOTH, "Idempotency-Key": task_id}
    first, second = (post(http, "/adapt", adapt_body(task_id=task_id), headers) for _ in range(2))
    assert second.headers["Idempotency-Replayed"] == "true"
    assert read_answer(first.content) == read_answer(second.content)
    problem_of(post(http, "/adapt", adapt_body(task_id=task_id, steps=1), headers), 422, "idempotency-key-reused")


def header_body(header: Any, tail: bytes = b"", *, length: int | None = None) -> bytes:
    text = json.dumps(header).encode()
    return (len(text) if length is None else length).to_bytes(8, "little") + text + tail


LIE = {"dtype": "F32", "shape": [2, 1], "data_offsets": [0, 8]}
REFUSED: dict[str, tuple[bytes, int, str]] = {
    "nothing": (b"", 400, "not-safetensors"),
    "JSON": (json.dumps({"support": SUPPORT}).encode(), 400, "not-safetensors"),
    "a cut header": (adapt_body()[:60], 400, "not-safetensors"),
    "a cut tail": (adapt_body()[:-1], 400, "not-safetensors"),
    "a longer tail": (adapt_body() + b"x", 400, "not-safetensors"),
    "a huge header": (header_body({}, length=2**63), 400, "not-safetensors"),
    "a huge shape": (header_body({"inputs": {**LIE, "shape": [2**62, 4]}}, bytes(8)), 400, "not-safetensors"),
    "an overlap": (header_body({"support.inputs": LIE, "support.targets": LIE}, bytes(8)), 400, "not-safetensors"),
    "another name": (binary_body({"rows": X}), 422, "invalid-request"),
    "another type": (binary_body({"support.inputs": X.astype(np.int32)}), 422, "invalid-request"),
    "another shape": (
        binary_body({"support.inputs": np.zeros((2, 3), np.float32), "support.targets": Y}),
        422,
        "shape-mismatch",
    ),
    "uneven rows": (binary_body({"support.inputs": X[:1], "support.targets": Y}), 422, "shape-mismatch"),
    "many rows": (binary_body({"support.inputs": np.zeros((1001, 1))}), 413, "too-many-rows"),
    "NaN": (binary_body({"support.inputs": X * np.float32(np.nan), "support.targets": Y}), 422, "not-finite"),
    "1e300": (binary_body({"support.inputs": X.astype(np.float64) * 1e300, "support.targets": Y}), 422, "not-finite"),
    "infinite halves": (
        binary_body({"support.inputs": X, "support.targets": np.array([1, np.inf], np.float16)}),
        422,
        "not-finite",
    ),
    "a request of NaN": (header_body({"__metadata__": {"request": '{"steps": NaN}'}}), 422, "not-finite"),
}


@pytest.mark.usefixtures("nothing_changes")
@pytest.mark.parametrize(("body", "status", "code"), REFUSED.values(), ids=REFUSED)
@pytest.mark.parametrize("headers", [SENT, BOTH], ids=["JSON", "safetensors"])
def test_wrong_body_is_a_problem_and_stores_nothing(
    http: httpx.Client, body: bytes, status: int, code: str, headers: dict[str, str]
) -> None:
    problem_of(post(http, "/adapt", body, headers), status, code)


def test_compressed_body_is_unpacked_or_refused(http: httpx.Client) -> None:
    packed = gzip.compress(adapt_body())
    assert post(http, "/adapt", packed, {**SENT, "Content-Encoding": "gzip"}).status_code == 201
    problem_of(post(http, "/adapt", packed[:-9], {**SENT, "Content-Encoding": "gzip"}), 400, "bad-request")
    problem_of(post(http, "/adapt", packed, {**SENT, "Content-Encoding": "br"}), 415, "unsupported-media-type")


def test_bodies_of_all_sizes_and_lies_do_not_touch_their_neighbours(http: httpx.Client, task_id: str) -> None:
    adapt(http, task_id=task_id)
    rows = np.linspace(-4, 4, 3000, dtype=np.float32)[:, None]
    expected = np.array(outputs(http, task_id=task_id, inputs=rows.tolist()))

    def ask(number: int) -> httpx.Response:
        body = binary_body({"inputs": rows[: number * 31 % 3000]}, task_id=task_id)
        return post(http, "/predict", body[:-2] if number % 3 == 0 else body, BOTH)

    with ThreadPoolExecutor(16) as threads:
        answers = list(threads.map(ask, range(1, 97)))
    for number, answer in enumerate(answers, start=1):
        if number % 3 == 0:
            problem_of(answer, 400, "not-safetensors")
        else:
            assert np.allclose(load(answer.content)["outputs"], expected[: number * 31 % 3000], rtol=1e-5, atol=1e-5)


def test_client_sends_and_reads_arrays_as_bytes(service: Service, task_id: str) -> None:
    with Client(service.url) as client:
        made = client.adapt(X, Y, task_id=task_id, validation=(X, Y), binary=True)
        assert (made.revision, made.support_size) == (1, 2)
        found = client.predict(QUERIES, task_id=task_id, binary=True).outputs
        assert close(found, client.predict(QUERIES, task_id=task_id).outputs)
        with pytest.raises(ShapeMismatch):
            client.predict(np.zeros((1, 2)), task_id=task_id, binary=True)


async def test_awaiting_client_does_the_same(service: Service, task_id: str) -> None:
    async with AsyncClient(service.url) as client:
        assert (await client.adapt(X, Y, task_id=task_id, binary=True)).task_id == task_id
        found = (await client.predict(QUERIES, task_id=task_id, binary=True)).outputs
        assert close(found, (await client.predict(QUERIES, task_id=task_id)).outputs)
