"""Traces, as a collector of OTLP over HTTP gets them."""

import gzip
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import structlog
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status
from pydantic import ValidationError

from app.api.context import Context
from app.api.tracing import Tracing
from app.settings import Settings
from tests.api.asking import sine
from tests.api.test_api_batched import QUERY, adapted, served

TRACE, PARENT = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"


class Collector(ThreadingHTTPServer):
    """Keeps what it is sent."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Taking)
        self.requests: list[ExportTraceServiceRequest] = []
        self.paths: set[str] = set()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def spans(self) -> list[Span]:
        return [
            span
            for request in self.requests
            for resource in request.resource_spans
            for scope in resource.scope_spans
            for span in scope.spans
        ]

    def of_requests(self) -> list[Span]:
        return [span for span in self.spans() if span.kind == Span.SPAN_KIND_SERVER]

    def inside(self, parent: Span) -> list[Span]:
        """Return the stages of a request; whether keys are looked for is a matter of time."""
        spans = [span for span in self.spans() if span.parent_span_id == parent.span_id]
        return [span for span in spans if span.name != "identifying"]


class _Taking(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        assert isinstance(self.server, Collector)
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if self.headers.get("Content-Encoding") == "gzip":
            body = gzip.decompress(body)
        self.server.paths.add(self.path)
        self.server.requests.append(ExportTraceServiceRequest.FromString(body))
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
        """Write no line a request."""


@pytest.fixture
def collector() -> Iterator[Collector]:
    with running(Collector()) as one:
        yield one


@contextmanager
def running(collector: Collector) -> Iterator[Collector]:
    thread = threading.Thread(target=collector.serve_forever)
    thread.start()
    try:
        yield collector
    finally:
        collector.shutdown()
        thread.join()
        collector.server_close()


def attributes(span: Span) -> dict[str, Any]:
    return {pair.key: getattr(pair.value, str(pair.value.WhichOneof("value"))) for pair in span.attributes}


async def test_a_request_is_a_span_with_its_stages_inside(tmp_path: Path, collector: Collector) -> None:
    before = time.time_ns()
    async with served(tmp_path, otel_exporter_otlp_endpoint=collector.url) as (http, _):
        headers = {"X-Request-ID": "mine-1", "traceparent": f"00-{TRACE}-{PARENT}-01"}
        assert (await adapted(http, sine(5), task_id="one", headers=headers)).status_code == 201
        assert (await http.post("/predict", json={"task_id": "one", "inputs": QUERY})).status_code == 200
        assert (await http.get("/tasks/one")).status_code == 200
    after = time.time_ns()
    assert collector.paths == {"/v1/traces"}
    by_name = {span.name: span for span in collector.of_requests()}
    assert set(by_name) == {"POST /adapt", "POST /predict", "GET /tasks/{task_id}"}
    adapt = by_name["POST /adapt"]
    assert (adapt.trace_id.hex(), adapt.parent_span_id.hex()) == (TRACE, PARENT)
    assert attributes(adapt) == {
        "http.request.method": "POST",
        "http.route": "/adapt",
        "http.response.status_code": 201,
        "innerloop.request_id": "mine-1",
        "innerloop.tasks": 1,
    }
    assert "innerloop.tasks" not in attributes(by_name["GET /tasks/{task_id}"])
    for name, stages in {
        "POST /adapt": ["reading", "compute", "store"],
        "POST /predict": ["reading", "compute"],
    }.items():
        parent = by_name[name]
        inside = collector.inside(parent)
        assert [span.name for span in inside] == stages
        moments = [moment for span in inside for moment in (span.start_time_unix_nano, span.end_time_unix_nano)]
        bounds = [before, parent.start_time_unix_nano, *moments, parent.end_time_unix_nano, after]
        assert bounds == sorted(bounds)
        for span in inside:
            assert span.trace_id == parent.trace_id
            assert attributes(span)["innerloop.batch_size"] == 1
            assert 0.0 <= attributes(span)["innerloop.queue_seconds"] < 60.0
    resource = collector.requests[0].resource_spans[0].resource
    assert {pair.key: pair.value.string_value for pair in resource.attributes}["service.name"] == "innerloop"


async def test_a_batch_of_calls_is_one_span_that_counts_them(tmp_path: Path, collector: Collector) -> None:
    async with served(tmp_path, otel_exporter_otlp_endpoint=collector.url) as (http, _):
        answer = await http.post("/adapt/batch", json=[{"support": sine(3)} for _ in range(4)])
        assert answer.status_code == 200
    (batch,) = collector.of_requests()
    assert attributes(batch)["innerloop.tasks"] == 4
    inside = [span.name for span in collector.inside(batch)]
    assert {name: inside.count(name) for name in set(inside)} == {"reading": 4, "compute": 4, "store": 4}


async def test_what_fails_is_marked(tmp_path: Path, collector: Collector, monkeypatch: pytest.MonkeyPatch) -> None:
    async with served(tmp_path, otel_exporter_otlp_endpoint=collector.url) as (http, context):
        _break_tasks(context, monkeypatch)
        with structlog.testing.capture_logs():  # to write the error down takes seconds
            assert (await http.get("/tasks/one")).status_code == 500
        assert (await http.get("/models/none")).status_code == 404
    codes = {attributes(span)["http.response.status_code"]: span.status.code for span in collector.of_requests()}
    assert codes == {500: Status.STATUS_CODE_ERROR, 404: Status.STATUS_CODE_UNSET}


def _break_tasks(context: Context, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*arguments: object, **named: object) -> None:
        raise RuntimeError("broken")

    monkeypatch.setattr(context.store, "task", broken)


async def test_a_collector_that_is_away_holds_up_nobody(tmp_path: Path) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{closed.getsockname()[1]}"
        async with served(tmp_path, otel_exporter_otlp_endpoint=url) as (http, _):
            assert (await adapted(http, sine(5), task_id="one")).status_code == 201
            began = time.monotonic()
        assert time.monotonic() - began < 10.0


def test_traces_are_off_unless_somebody_takes_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OTEL_EXPORTER_OTLP_ENDPOINT", raising=False)
    assert Settings().otel_exporter_otlp_endpoint is None
    with pytest.raises(ValidationError, match="otel_exporter_otlp_endpoint"):
        Settings(otel_exporter_otlp_endpoint="collector:4317")


def test_without_the_packages_the_message_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "opentelemetry.sdk.trace", None)
    with pytest.raises(ValueError, match="make traces"):
        Tracing("http://127.0.0.1:4318")
