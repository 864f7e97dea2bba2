"""Traces of requests, sent to a collector of OpenTelemetry where one is configured: a span a request, one a stage."""

import threading
import time
from collections.abc import Iterable
from typing import Any

from app.bearer_keys import masked
from app.current_request import StageTime, StageTimes
from innerloop import __version__

MOST_STAGES = 300
"""Child spans of a request: one for 256 tasks has three for each."""
LAST_SECONDS = 3.0
"""Longest wait at the end for a collector to take the last spans."""
NAMES = {"identifying": "identifying", "looking": "looking", "reading": "reading", "writing": "store"}
"""Of spans, by stage; every other stage is the device."""


class Tracing:
    """Makes spans of requests that have ended, and sends them from a thread of its own.

    OpenTelemetry's own variables hold: OTEL_SERVICE_NAME, OTEL_TRACES_SAMPLER, OTEL_EXPORTER_OTLP_HEADERS and so on.
    """

    def __init__(self, endpoint: str) -> None:
        """`endpoint` takes OTLP over HTTP; ValueError where the packages are not installed."""
        try:
            from opentelemetry import trace
            from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
            from opentelemetry.sdk.resources import Resource
            from opentelemetry.sdk.trace import TracerProvider
            from opentelemetry.sdk.trace.export import BatchSpanProcessor
            from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator
        except ImportError as error:
            raise ValueError(
                "OTEL_EXPORTER_OTLP_ENDPOINT is set, and what sends traces is not installed: add it by `make traces`, "
                "or leave the variable out"
            ) from error
        self._trace = trace
        found = Resource.create()
        name = str(found.attributes["service.name"])
        known = {"service.name": "innerloop" if name.startswith("unknown_service") else name}
        resource = found.merge(Resource({**known, "service.version": __version__}))
        self._provider = TracerProvider(resource=resource, shutdown_on_exit=False)
        self._exporter = OTLPSpanExporter(endpoint=f"{endpoint.rstrip('/')}/v1/traces")
        self._provider.add_span_processor(BatchSpanProcessor(self._exporter))
        self._tracer = self._provider.get_tracer("innerloop", __version__)
        self._parents = TraceContextTextMapPropagator()

    def ended(self, scope: Any, times: StageTimes, *, request_id: str, route: str, status: int, started: float) -> None:
        """Send what is known of a request that has just ended; `started` is a moment of time.monotonic()."""
        trace, to_unix_ns = self._trace, _offset_ns()
        headers = _trace_headers(scope["headers"])
        carrier = {name.decode("latin-1"): masked(value.decode("latin-1")) for name, value in headers}
        span = self._tracer.start_span(
            f"{scope['method']} {route}",
            context=self._parents.extract(carrier),
            kind=trace.SpanKind.SERVER,
            attributes={
                "http.request.method": scope["method"],
                "http.route": route,
                "http.response.status_code": status,
                "innerloop.request_id": request_id,
                **_num_tasks(times),
            },
            start_time=_ns(started) + to_unix_ns,
        )
        if span.is_recording():
            inside = trace.set_span_in_context(span)
            for stage in times.stages[:MOST_STAGES]:
                self._add(stage, inside, to_unix_ns)
            if status >= 500 or not status:
                span.set_status(trace.StatusCode.ERROR)
        span.end(_ns(time.monotonic()) + to_unix_ns)

    def close(self) -> None:
        """Send what waits, if somebody takes it; blocks for LAST_SECONDS at most, and for a connection to end."""
        giving_up = threading.Timer(LAST_SECONDS, self._exporter.shutdown)  # the provider's own limit is 30 seconds
        giving_up.start()
        self._provider.shutdown()
        giving_up.cancel()

    def _add(self, stage: StageTime, inside: Any, to_unix_ns: int) -> None:
        attributes = {
            "innerloop.queue_seconds": stage.began - stage.asked,
            "innerloop.batch_size": stage.num_together,
        }
        name = NAMES.get(stage.stage, "compute")
        child = self._tracer.start_span(
            name, context=inside, attributes=attributes, start_time=_ns(stage.began) + to_unix_ns
        )
        child.end(_ns(stage.ended) + to_unix_ns)


def _num_tasks(times: StageTimes) -> dict[str, int]:
    is_of_one = times.num_tasks is None and any(stage.stage == "reading" for stage in times.stages)
    num_tasks = 1 if is_of_one else times.num_tasks
    return {} if num_tasks is None else {"innerloop.tasks": num_tasks}


def _trace_headers(headers: Iterable[tuple[bytes, bytes]]) -> Iterable[tuple[bytes, bytes]]:
    return (header for header in headers if header[0] in (b"traceparent", b"tracestate"))


def _offset_ns() -> int:
    """Return what turns a moment of time.monotonic() into one since 1970."""
    return time.time_ns() - time.monotonic_ns()


def _ns(seconds: float) -> int:
    return int(seconds * 1e9)
