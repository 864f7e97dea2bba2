"""A key that is sent where it does not belong is kept nowhere: not in the log, the audit log, the store or a trace."""

import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from app.api.middleware import REQUEST_ID_HEADER
from app.bearer_keys import BearerKey, hashed, holds_key, masked, new_key
from tests.api.asking import SUPPORT
from tests.api.service import Service, start_service
from tests.api.tenants import client_of, make_key
from tests.api.test_api_batched import served
from tests.api.test_api_traces import PARENT, TRACE, Collector, attributes, running


class Guarded(NamedTuple):
    """A service with a key, and its folder."""

    service: Service
    folder: Path
    key: BearerKey


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Guarded]:
    folder = tmp_path_factory.mktemp("guarded")
    key = make_key(folder, "acme")
    service = start_service(folder, job_worker=0)
    yield Guarded(service, folder, key)
    service.stop()


def secret_of(key: BearerKey) -> str:
    """Return a part of the secret that is in every form below."""
    return key.text[len("il_") + len(key.key_id) + 1 :][:12]


def bytes_of(folder: Path) -> bytes:
    """Return all that the service has written: log and database."""
    return b"".join(one.read_bytes() for one in sorted(folder.rglob("*")) if one.is_file())


FORMS = {
    "the key": "{key}",
    "the key after a word": "job:{key}",
    "the key twice": "{key}/{key}",
    "the beginning of a key": "{beginning}",
}


def form_of(name: str, key: BearerKey) -> str:
    return FORMS[name].format(key=key.text, beginning=key.text[:40])


@pytest.mark.parametrize("form", FORMS)
def test_a_key_as_the_id_of_a_request_is_none(form: str, guarded: Guarded) -> None:
    given = form_of(form, guarded.key)
    task_id = f"t-{len(given)}"
    with client_of(guarded.service, guarded.key) as http:
        answer = http.post("/adapt", json={"task_id": task_id, "support": SUPPORT}, headers={REQUEST_ID_HEADER: given})
        assert answer.status_code in (200, 201), answer.text
        refused = http.get("/tasks/none", headers={REQUEST_ID_HEADER: given})
        entries = http.get("/audit", params={"task_id": task_id}).json()["data"]
    assert guarded.key.key_id not in answer.headers[REQUEST_ID_HEADER]
    assert refused.json()["request_id"] == refused.headers[REQUEST_ID_HEADER] != given
    assert [entry["request_id"] for entry in entries] == [answer.headers[REQUEST_ID_HEADER]]
    deadline = time.monotonic() + 10.0
    while not any(
        line["request_id"] == refused.headers[REQUEST_ID_HEADER] for line in guarded.service.logged("request")
    ):
        assert time.monotonic() < deadline  # a line is written after its answer
        time.sleep(0.01)
    assert secret_of(guarded.key).encode() not in bytes_of(guarded.folder)


@pytest.mark.parametrize("form", FORMS)
def test_a_key_as_an_idempotency_key_works_and_is_not_stored(form: str, guarded: Guarded) -> None:
    headers = {"Idempotency-Key": form_of(form, guarded.key)}
    with client_of(guarded.service, guarded.key) as http:
        first, again = (http.post("/adapt", json={"support": SUPPORT}, headers=headers) for _ in range(2))
        other = http.post("/adapt", json={"support": SUPPORT, "steps": 2}, headers=headers)
    assert first.status_code == 201, first.text
    assert again.headers["Idempotency-Replayed"] == "true"
    assert again.json()["task_id"] == first.json()["task_id"]
    assert other.json()["code"] == "idempotency-key-reused"
    assert secret_of(guarded.key).encode() not in bytes_of(guarded.folder)


async def test_no_trace_has_a_key(tmp_path: Path) -> None:
    key = make_key(tmp_path, "acme")
    with running(Collector()) as collector:
        async with served(tmp_path, otel_exporter_otlp_endpoint=collector.url) as (http, _):
            headers = {
                "Authorization": f"Bearer {key.text}",
                REQUEST_ID_HEADER: key.text,
                "traceparent": f"00-{TRACE}-{PARENT}-01",
                "tracestate": f"vendor={key.text},other={key.text[:40]}",
                "User-Agent": key.text,
            }
            for path in (f"/tasks/{key.text}", f"/{key.text}", "/tasks"):
                await http.get(path, headers=headers)
        spans = collector.of_requests()
        assert len(spans) == 3
        assert {span.trace_state for span in spans} == {f"vendor=il_{key.key_id}_...,other=il_{key.key_id}_..."}
        assert not any(key.key_id in attributes(span)["innerloop.request_id"] for span in spans)
        assert not any(secret_of(key).encode() in sent.SerializeToString() for sent in collector.requests)


async def test_no_problem_document_holds_the_secret_of_a_key(tmp_path: Path) -> None:
    async with served(tmp_path) as (http, _):
        key = new_key()
        for answer in (
            await http.get(f"/tasks/{key.text}"),
            await http.get(f"/{key.text}"),
            await http.get("/tasks", params={key.text: 1}),
            await http.post("/adapt", json={"model": key.text, "support": {"inputs": [[1.0]], "targets": [1.0]}}),
            await http.post("/predict/batch", json=[{"task_id": key.text, "inputs": [[1.0]]}]),
        ):
            assert secret_of(key) not in answer.text
            assert answer.status_code in (200, 404, 422)


def test_what_looks_like_a_key_is_told_from_what_does_not() -> None:
    key = new_key()
    for text in (key.text, f"a{key.text}b", key.text[:20], f"il_{key.key_id}_x", key.text * 2):
        assert holds_key(text)
        assert secret_of(key) not in masked(text)
        assert f"il_{key.key_id}_..." in masked(text)
    for text in (
        "",
        "il_",
        f"il_{key.key_id}",
        f"il_{key.key_id}_",
        "fail_0123456789",
        hashed(key.text),
        "email_il_x_y",
    ):
        assert not holds_key(text)
        assert masked(text) == text
