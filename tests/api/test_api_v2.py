"""Claims about /v2 over the wire: every error is JSON with `error`, bodies are capped, neighbours are untouched."""

import gzip
import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import numpy as np
import pytest

from tests.api.asking import adapt, close, outputs, problem_of
from tests.api.service import Service, start_service

MAX_BODY_BYTES = 20_000
X = [[0.5], [1.5]]
RAW = np.array(X, dtype=np.float32).tobytes()
LENGTH = "Inference-Header-Content-Length"


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    running = start_service(tmp_path_factory.mktemp("small"), max_body_bytes=MAX_BODY_BYTES)
    yield running
    running.stop()


def infer(http: httpx.Client, task_id: str, *, tail: bytes = b"", **fields: Any) -> httpx.Response:
    """POST a body with a tail of raw tensors, as if these were all of it."""
    tensor = {"name": "inputs", "shape": [2, 1], "datatype": "FP32", "parameters": {"binary_data_size": len(RAW)}}
    text = json.dumps({"inputs": [{**tensor, **fields}]}).encode()
    return http.post(f"/v2/models/{task_id}/infer", content=text + tail, headers={LENGTH: str(len(text))})


def test_plain_json_is_enough(http: httpx.Client, task_id: str) -> None:
    adapt(http, task_id=task_id)
    body = {"inputs": [{"name": "inputs", "shape": [2, 1], "datatype": "FP32", "data": X}]}
    response = http.post(f"/v2/models/{task_id}/infer", json=body)
    assert response.headers["Content-Type"] == "application/json"
    (found,) = response.json()["outputs"]
    assert (found["name"], found["shape"]) == ("outputs", [2, 1])
    assert close(np.reshape(found["data"], (2, 1)).tolist(), outputs(http, task_id=task_id, inputs=X))


def test_media_type_does_not_matter(http: httpx.Client, task_id: str) -> None:
    adapt(http, task_id=task_id)
    body = json.dumps({"inputs": [{"name": "inputs", "shape": [2, 1], "datatype": "FP32", "data": X}]})
    for media_type in ("application/octet-stream", "text/plain", ""):
        response = http.post(f"/v2/models/{task_id}/infer", content=body, headers={"Content-Type": media_type})
        assert response.status_code == 200


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("GET", "/v2/systemsharedmemory/status", 404, "route-not-found"),
        ("POST", "/v2/cudasharedmemory/region/a/register", 404, "route-not-found"),
        ("GET", "/v2/trace/setting", 404, "route-not-found"),
        ("GET", "/v2/", 404, "route-not-found"),
        ("GET", "/v2/models", 404, "route-not-found"),
        ("GET", "/v2/models/a/b", 404, "route-not-found"),
        ("POST", "/v2/models/..%2Fa/infer", 404, "route-not-found"),
        ("GET", "/v2/models/%00", 422, "invalid-id"),
        ("GET", "/v2/models/nobody", 404, "task-not-found"),
        ("GET", "/v2/models/nobody/ready", 404, "task-not-found"),
        ("GET", "/v2/models/nobody/config", 404, "task-not-found"),
        ("GET", "/v2/models/nobody/stats", 404, "task-not-found"),
        ("GET", "/v2/models/nobody/versions/0", 422, "invalid-request"),
        ("GET", "/v2/models/nobody/versions/one/ready", 422, "invalid-request"),
        ("POST", "/v2/models/nobody", 405, "method-not-allowed"),
        ("GET", "/v2/models/nobody/infer", 405, "method-not-allowed"),
        ("GET", "/v2/repository/index", 405, "method-not-allowed"),
        ("POST", "/v2/repository/models/nobody/load", 404, "task-not-found"),
        ("POST", "/v2/repository/models/nobody/unload", 404, "task-not-found"),
    ],
)
def test_every_error_is_json_with_error(http: httpx.Client, method: str, path: str, status: int, code: str) -> None:
    assert problem_of(http.request(method, path), status, code).error


@pytest.mark.parametrize(
    ("fields", "tail", "status", "code"),
    [
        ({}, RAW[:-1], 400, "bad-request"),
        ({}, RAW + b"x", 400, "bad-request"),
        ({}, b"", 400, "bad-request"),
        ({"shape": [2**62, 4]}, RAW, 400, "bad-request"),
        ({"shape": [-2, -1]}, RAW, 400, "bad-request"),
        ({"shape": [2**31, 0]}, RAW, 413, "too-many-rows"),
        ({"datatype": "FP64"}, RAW, 400, "bad-request"),
        ({"datatype": "BOOL"}, RAW, 400, "bad-request"),
        ({"datatype": "BYTES"}, RAW, 400, "bad-request"),
        ({"parameters": {"binary_data_size": 2**62}}, RAW, 400, "bad-request"),
        ({"parameters": {"binary_data_size": -1}}, RAW, 422, "invalid-request"),
        ({"shape": [1, 2]}, RAW, 422, "shape-mismatch"),
        ({}, np.array([[1], [np.inf]], np.float32).tobytes(), 422, "not-finite"),
    ],
)
def test_lengths_and_shapes_that_lie_are_refused(
    http: httpx.Client, task_id: str, fields: dict[str, Any], tail: bytes, status: int, code: str
) -> None:
    adapt(http, task_id=task_id)
    problem_of(infer(http, task_id, tail=tail, **fields), status, code)


def test_malformed_bodies_do_not_touch_their_neighbours(http: httpx.Client, task_id: str) -> None:
    adapt(http, task_id=task_id)
    expected = outputs(http, task_id=task_id, inputs=X)

    def ask(number: int) -> httpx.Response:
        if number % 2:
            return infer(http, task_id, tail=RAW)
        return infer(http, task_id, tail=RAW[: number % 7], shape=[2**40, 2**40] if number % 4 else [2, 1])

    with ThreadPoolExecutor(16) as threads:
        answers = list(threads.map(ask, range(100)))
    for number, answer in enumerate(answers):
        assert answer.status_code == (200 if number % 2 else 400)
        if number % 2:
            assert close(json.loads(answer.content)["outputs"][0]["data"], np.ravel(expected).tolist())


@pytest.mark.parametrize("chunked", [False, True], ids=["with its length", "in chunks"])
@pytest.mark.parametrize(
    "path", ["models/nobody/infer", "repository/index", "repository/models/nobody/load", "repository/models/a/unload"]
)
def test_bytes_of_every_body_are_capped(small: Service, path: str, chunked: bool) -> None:
    body = b" " * (MAX_BODY_BYTES + 1)
    content: Any = (body[i : i + 4096] for i in range(0, len(body), 4096)) if chunked else body
    problem_of(small.http.post(f"/v2/{path}", content=content), 413, "body-too-large")


def test_bytes_are_capped_after_unpacking(small: Service) -> None:
    bomb = gzip.compress(bytes(10_000_000))
    assert len(bomb) < MAX_BODY_BYTES
    response = small.http.post("/v2/models/nobody/infer", content=bomb, headers={"Content-Encoding": "gzip"})
    problem_of(response, 413, "body-too-large")


@pytest.mark.parametrize(
    ("encoding", "body", "status", "code"),
    [
        ("gzip", b"no gzip", 400, "bad-request"),
        ("gzip", gzip.compress(b"{}" * 100, mtime=0)[:-9], 400, "bad-request"),
        ("deflate", gzip.compress(b"{}", mtime=0), 400, "bad-request"),
        ("br", b"{}", 415, "unsupported-media-type"),
        ("gzip, gzip", gzip.compress(gzip.compress(b"{}", mtime=0), mtime=0), 415, "unsupported-media-type"),
    ],
)
def test_wrong_encodings_are_refused(http: httpx.Client, encoding: str, body: bytes, status: int, code: str) -> None:
    response = http.post("/v2/models/nobody/infer", content=body, headers={"Content-Encoding": encoding})
    problem_of(response, status, code)


def test_deadline_is_kept(http: httpx.Client, task_id: str) -> None:
    body = {"inputs": [{"name": "inputs", "shape": [2, 1], "datatype": "FP32", "data": X}]}
    headers = {"X-Request-Timeout-Ms": "soon"}
    problem_of(http.post(f"/v2/models/{task_id}/infer", json=body, headers=headers), 400, "bad-request")


@pytest.mark.parametrize(
    "body", ["[]", "{", '{"parameters": 1}', '{"url": "http://a"}', '{"parameters": {"file:a": ""}}']
)
def test_task_is_loaded_from_nowhere_but_the_store(http: httpx.Client, task_id: str, body: str) -> None:
    adapt(http, task_id=task_id)
    response = http.post(f"/v2/repository/models/{task_id}/load", content=body)
    problem_of(response, *((400, "not-json") if body == "{" else (422, "invalid-request")))


def test_an_output_is_answered_once(http: httpx.Client, task_id: str) -> None:
    adapt(http, task_id=task_id)
    tensor = {"name": "inputs", "shape": [2, 1], "datatype": "FP32", "data": X}
    for wanted, status in (([{"name": "outputs"}], 200), ([{"name": "outputs"}] * 2, 400)):
        answer = http.post(f"/v2/models/{task_id}/infer", json={"inputs": [tensor], "outputs": wanted})
        assert answer.status_code == status, answer.text


def test_statistics_of_a_task_are_those_of_revisions_that_are_there(http: httpx.Client, task_id: str) -> None:
    adapt(http, task_id=task_id)
    body = {"inputs": [{"name": "inputs", "shape": [2, 1], "datatype": "FP32", "data": X}]}
    assert http.post(f"/v2/models/{task_id}/infer", json=body).status_code == 200
    assert http.delete(f"/tasks/{task_id}").status_code == 204
    adapt(http, task_id=task_id)
    (found,) = http.get(f"/v2/models/{task_id}/stats").json()["model_stats"]
    assert (found["version"], found["execution_count"]) == ("2", 0)
    http.post(f"/v2/models/{task_id}/infer", json=body)
    (found,) = http.get(f"/v2/models/{task_id}/stats").json()["model_stats"]
    assert (found["version"], found["execution_count"]) == ("2", 1)
