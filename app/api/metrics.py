"""What Prometheus reads: what the parts count anyway, turned into metrics when somebody asks; see docs/observing.md."""

from collections.abc import Iterator

import structlog
from prometheus_client import CollectorRegistry, GCCollector, ProcessCollector
from prometheus_client.core import Metric
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector

from app.api.context import Context
from app.api.metric_families import counter, gauge, histogram
from app.engine.device_memory import device_memory
from app.engine.histogram import SECONDS, SIZES, Histogram
from app.store import JobStatus
from innerloop import __version__
from innerloop.errors import InnerloopError

log = structlog.get_logger()


def metrics_text(context: Context, accept: str) -> tuple[bytes, str]:
    """Return the metrics and their media type, as `accept` asks for it; blocks for one query of the store."""
    registry = CollectorRegistry()
    registry.register(_Service(context))
    ProcessCollector(registry=registry)
    GCCollector(registry=registry)
    encode, media_type = choose_encoder(accept)
    return encode(registry), media_type


class _Service(Collector):
    def __init__(self, context: Context) -> None:
        self._context = context

    def describe(self) -> list[Metric]:
        """Return nothing: the registry is made for one answer, and would collect twice to hold names apart."""
        return []

    def collect(self) -> Iterator[Metric]:
        """Give every metric."""
        yield from _of_service(self._context)
        yield from _of_requests(self._context)
        yield from _of_stages(self._context)
        yield from _of_load(self._context)
        yield from _of_caches(self._context)
        yield from _of_programs(self._context)
        yield from _of_store(self._context)
        yield from _of_device(self._context)


def _of_service(context: Context) -> Iterator[Metric]:
    labels = {"version": __version__, "device": str(context.engine.device)}
    yield gauge("info", "Always 1; version and device are labels.", {(): 1}, constant=labels)
    yield gauge(
        "draining",
        "1 after SIGTERM: requests under way are answered, then the process ends.",
        {(): int(context.draining)},
    )
    worker = context.worker
    yield gauge(
        "job_worker_alive",
        "1 where this process works on meta-training jobs.",
        {(): int(worker is not None and worker.alive)},
    )


def _of_requests(context: Context) -> Iterator[Metric]:
    counts = context.requests
    yield gauge("requests_under_way", "Requests that are not answered yet.", {(): counts.num_under_way})
    yield counter("requests", "Requests that ended, by route template.", "method route status", counts.ended())
    yield histogram("request_seconds", "Duration of requests, bodies included.", "method route", counts.durations())


def _of_stages(context: Context) -> Iterator[Metric]:
    stages = {
        ("identifying",): (context.identifying.depth, context.identifying.counters),
        ("reading",): (context.reading.depth, context.reading.counters),
        ("device",): (context.engine.queue_depth, context.engine.counters),
        ("writing",): (context.writing.depth, context.writing.counters),
    }
    done = {stage: counters for stage, (_, counters) in stages.items()}
    yield gauge(
        "queue_depth",
        "Calls that wait for a stage or are in it.",
        {stage: depth for stage, (depth, _) in stages.items()},
        "stage",
    )
    yield gauge("queue_limit", "Most of them; beyond, 503.", {(): context.limits.max_queue_depth})
    yield histogram(
        "queue_wait_seconds",
        "Time in line for a stage.",
        "stage",
        {key: Histogram(SECONDS).include(one.waits, one.wait_seconds) for key, one in done.items()},
    )
    late, gone = ({(*key, why): getattr(one, why) for key, one in done.items()} for why in ("late", "gone"))
    yield counter(
        "queue_left", "Calls that left a line, late (504) or gone (hung up).", "stage reason", {**late, **gone}
    )
    yield histogram(
        "batch_size",
        "Calls that went through a stage at once.",
        "stage",
        {key: Histogram(SIZES).include(one.sizes, one.items) for key, one in done.items()},
    )
    yield histogram(
        "batch_seconds",
        "Time of a batch in a stage; on `device`, of computing.",
        "stage",
        {key: Histogram(SECONDS).include(one.durations, one.seconds) for key, one in done.items()},
    )


def _of_load(context: Context) -> Iterator[Metric]:
    load = context.load
    yield gauge("backlog_seconds", "Work that was let in and not done, by estimate.", {(): load.backlog_seconds})
    yield counter("load_refused", "Calls refused for want of room, 503 and 429.", "", {(): load.num_refused})


def _of_caches(context: Context) -> Iterator[Metric]:
    uses = {(name,): use for name, use in context.engine.cache_use.items()}
    yield gauge("cache_bytes", "Bytes held.", {key: use.bytes for key, use in uses.items()}, "cache")
    yield gauge("cache_limit_bytes", "Most bytes held.", {key: use.max_bytes for key, use in uses.items()}, "cache")
    yield gauge("cache_entries", "Values held.", {key: use.entries for key, use in uses.items()}, "cache")
    yield counter("cache_hits", "Look-ups that found it.", "cache", {key: use.hits for key, use in uses.items()})
    yield counter("cache_misses", "Look-ups that did not.", "cache", {key: use.misses for key, use in uses.items()})
    yield counter(
        "cache_evictions",
        "Values dropped for want of room.",
        "cache",
        {key: use.evictions for key, use in uses.items()},
    )


def _of_programs(context: Context) -> Iterator[Metric]:
    counters = context.engine.compile_counters
    yield counter(
        "programs",
        "Compiled programs, by what became of them.",
        "outcome",
        {
            ("compiled",): counters.compiled,
            ("loaded",): counters.loaded,
            ("refused",): counters.refused,
        },
    )
    yield counter("program_runs", "Batches that compiled programs ran.", "", {(): counters.runs})


def _of_store(context: Context) -> Iterator[Metric]:
    yield counter("store_commits", "Transactions of this process that wrote.", "", {(): context.store.num_commits})
    counts: dict[JobStatus, int] = {}
    try:
        counts.update(context.store.job_counts())
    except InnerloopError as error:  # the rest is worth telling all the more
        log.warning("jobs could not be counted", reason=error.detail)
    yield gauge("store_up", "1 where the store answered this scrape.", {(): int(bool(counts))})
    yield gauge(
        "jobs",
        "Meta-training jobs of all tenants in the store.",
        {(status,): number for status, number in counts.items()},
        "status",
    )


def _of_device(context: Context) -> Iterator[Metric]:
    memory = device_memory(context.engine.device)
    yield gauge(
        "device_memory_bytes",
        "Memory of the device: total, reserved by the process, allocated.",
        {(kind,): number for kind, number in memory.items()},
        "kind",
    )
