"""Claims about headers: request ids, time limits, media types, and what is not HTTP at all."""

import re
import socket
import time
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest

from innerloop.wire import Health, Problem
from tests.api.asking import JSON, adapt, problem_of, sine
from tests.api.service import Service

BODY = {"support": sine(3)}
HEAVY = {"support": sine(1000), "steps": 100, "learning_rate": 0.001, "inputs": [[0.0]]}
"""A tenth of a second on the device, or less, and nothing stored."""
MADE_ID = re.compile(r"[A-Za-z0-9-]{16,64}")


@pytest.mark.parametrize("path", ["/limits", "/tasks/none-such", "/nothing/here", "/tasks?limit=0"])
@pytest.mark.parametrize("request_id", ["a", "order-17", "A.b:c/d+e=f@g_h-i", "x" * 128])
def test_a_usable_request_id_comes_back(http: httpx.Client, path: str, request_id: str) -> None:
    response = http.get(path, headers={"X-Request-ID": request_id})
    assert response.headers.get_list("X-Request-ID") == [request_id]
    if response.status_code >= 400:
        assert response.json()["request_id"] == request_id


@pytest.mark.parametrize("value", [b"", b"a b", b"x" * 129, b"\xe9", b"<b>", b'a"b', b"a\tb", b"a;b"], ids=repr)
def test_an_unusable_request_id_is_replaced(http: httpx.Client, value: bytes) -> None:
    response = http.get("/tasks/none-such", headers=[(b"X-Request-ID", value)])
    assert MADE_ID.fullmatch(response.headers["X-Request-ID"])
    problem_of(response, 404, "task-not-found")


def test_made_request_ids_differ(http: httpx.Client) -> None:
    assert len({http.get("/healthz").headers["X-Request-ID"] for _ in range(10)}) == 10


@pytest.mark.usefixtures("nothing_changes")
@pytest.mark.parametrize(
    "text", ["0", "0.0", "100000000", "-1", "soon", "", "nan", "inf", "-inf", "1e999", "0x10", "1,5", "10 s", "1_000"]
)
@pytest.mark.parametrize("path", ["/adapt", "/predict"])
def test_a_time_limit_that_is_no_number_is_refused(http: httpx.Client, path: str, text: str) -> None:
    body = {**BODY, **({"inputs": [[0.0]]} if path == "/predict" else {})}
    response = http.post(path, json=body, headers={"X-Request-Timeout-Ms": text})
    assert "X-Request-Timeout-Ms" in problem_of(response, 400, "bad-request").detail


def test_a_time_limit_that_suffices_changes_nothing(http: httpx.Client) -> None:
    adapt(http, headers={"X-Request-Timeout-Ms": "60000"})


@pytest.mark.parametrize("text", ["1000.5", "60000.000000001", "99999999"])
def test_a_time_limit_is_a_number_of_milliseconds(http: httpx.Client, text: str) -> None:
    adapt(http, headers={"X-Request-Timeout-Ms": text})


def test_a_time_limit_may_be_less_than_a_millisecond(http: httpx.Client) -> None:
    problem_of(
        http.post("/adapt", json=BODY, headers={"X-Request-Timeout-Ms": "0.000000001"}), 504, "deadline-exceeded"
    )


def test_work_that_waits_past_its_time_is_never_done(http: httpx.Client, task_id: str) -> None:
    with ThreadPoolExecutor(24) as threads:
        heavy = [threads.submit(http.post, "/predict", json=HEAVY) for _ in range(24)]
        time.sleep(0.3)
        late = [
            http.post("/adapt", json={**BODY, "task_id": task_id}, headers={"X-Request-Timeout-Ms": "100"}),
            http.post("/predict", json={**BODY, "inputs": [[1.0]]}, headers={"X-Request-Timeout-Ms": "100"}),
        ]
        assert not all(future.done() for future in heavy), "the device was free again: make HEAVY heavier"
    for response in late:
        problem_of(response, 504, "deadline-exceeded")
    assert [future.result().status_code for future in heavy] == [200] * 24
    problem_of(http.get(f"/tasks/{task_id}"), 404, "task-not-found")
    assert adapt(http, task_id=task_id).revision == 1


@pytest.mark.usefixtures("nothing_changes")
@pytest.mark.parametrize(
    "kind",
    ["text/plain", "", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x", "application/jsonp",
     "application/octet-stream", "json", "application/json, text/plain", "*/*"],
)  # fmt: skip
@pytest.mark.parametrize("path", ["/adapt", "/predict", "/models/sinusoid/promote"])
def test_other_media_types_are_refused(http: httpx.Client, path: str, kind: str) -> None:
    response = http.post(path, content=b'{"version": 1}', headers={"Content-Type": kind})
    problem_of(response, 415, "unsupported-media-type")


@pytest.mark.usefixtures("nothing_changes")
@pytest.mark.parametrize("encoding", ["br", "zstd", "compress", "identity, gzip", "gzip, gzip", "x"])
def test_bodies_encoded_in_other_ways_are_refused(http: httpx.Client, encoding: str) -> None:
    response = http.post("/adapt", content=b"{}", headers={**JSON, "Content-Encoding": encoding})
    problem_of(response, 415, "unsupported-media-type")


@pytest.mark.parametrize("kind", ["application/json", "application/json; charset=utf-8", "APPLICATION/JSON"])
def test_json_is_taken_however_it_is_spelt(http: httpx.Client, kind: str) -> None:
    assert http.post("/adapt", json=BODY, headers={"Content-Type": kind}).status_code == 201


NOT_HTTP = {
    "no method of HTTP": b"BREW /adapt HTTP/1.1\r\nHost: x\r\n\r\n",
    "no request line": b"hello\r\n\r\n",
    "length that is no number": b"POST /adapt HTTP/1.1\r\nHost: x\r\nContent-Length: many\r\n\r\n{}",
    "negative length": b"POST /adapt HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n{}",
    "two lengths": b"POST /adapt HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\n{} ",
    "length and chunks": b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n",
    "chunk of no size": b"POST /adapt HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nsize\r\n{}\r\n",
    "NUL in a header": b"GET /healthz HTTP/1.1\r\nHost: x\r\nX-Request-ID: a\0b\r\n\r\n",
    "length beyond 64 bits": b"POST /adapt HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999999999999999999\r\n\r\n{}",
}


def _spoken(service: Service, data: bytes) -> tuple[int, str, bytes]:
    """Return status, media type and body of the answer to bytes on the wire."""
    url = httpx.URL(service.url)
    with socket.create_connection((url.host, url.port or 80), timeout=10) as connection:
        connection.sendall(data)
        answer = b""
        while not re.search(rb"\r\n\r\n.+", answer, re.DOTALL) and (part := connection.recv(65536)):
            answer += part
    head, _, body = answer.partition(b"\r\n\r\n")
    kind = re.search(rb"content-type: ([^\r]*)", head, re.IGNORECASE)
    return int(head.split()[1]), kind[1].decode() if kind else "", body


@pytest.mark.parametrize("name", NOT_HTTP)
def test_what_is_not_http_is_a_bad_request(service: Service, name: str) -> None:
    status, kind, body = _spoken(service, NOT_HTTP[name])
    assert status == 400
    assert Health.model_validate_json(service.http.get("/healthz").content).status == "ok"
    assert kind == "application/problem+json", body
    assert Problem.model_validate_json(body).code == "bad-request"


def test_a_declared_length_over_the_cap_is_refused_unread(service: Service) -> None:
    status, kind, body = _spoken(service, b"POST /adapt HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999999\r\n\r\n{")
    assert (status, kind) == (413, "application/problem+json")
    assert Problem.model_validate_json(body).code == "body-too-large"


def test_a_caller_that_goes_away_is_no_fault_of_the_service(service: Service) -> None:
    url = httpx.URL(service.url)
    time.sleep(0.2)  # what tests before did may still be logged
    before = len(service.logged("unforeseen error"))
    with socket.create_connection((url.host, url.port or 80)) as connection:
        connection.sendall(b'POST /adapt HTTP/1.1\r\nHost: x\r\nX-Request-ID: gone\r\nContent-Length: 500\r\n\r\n{"sup')
    deadline = time.monotonic() + 5
    while not any(line["request_id"] == "gone" for line in service.logged("request")):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    time.sleep(0.1)
    assert len(service.logged("unforeseen error")) == before
