"""What Prometheus reads: what the parts count anyway, turned into metrics when somebody asks; see docs/observing.md."""

from collections.abc import Iterator

import structlog
from prometheus_client import CollectorRegistry, GCCollector, ProcessCollector
from prometheus_client.core import Metric
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector

from app.api.context import Context
from app.api.metric_families import counter, gauge, histogram
from app.api.problems import STATUS_OF
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
    yield gauge(
        "info",
        "Always 1; the labels name the version of the service and the device that it computes on.",
        {(): 1},
        constant=labels,
    )
    yield gauge(
        "draining",
        "1 after SIGTERM, 0 before: requests under way are answered, then the process ends.",
        {(): int(context.draining)},
    )
    worker = context.worker
    yield gauge(
        "job_worker_alive",
        "1 where a worker of meta-training jobs is alive in this process, else 0.",
        {(): int(worker is not None and worker.alive)},
    )


def _of_requests(context: Context) -> Iterator[Metric]:
    counts = context.requests
    yield gauge(
        "requests_under_way", "HTTP requests that have begun and are not answered yet.", {(): counts.num_under_way}
    )
    yield counter(
        "requests",
        "HTTP requests that ended, by method, template of the route and status.",
        "method route status",
        counts.ended(),
    )
    yield histogram(
        "request_seconds",
        "Duration of HTTP requests, from the head of the request to the end of the answer.",
        "method route",
        counts.durations(),
    )
    yield counter(
        "problems",
        "Problem documents that were answered, alone or for a call of a batch, by error code.",
        "code",
        {(kind.code,): 0 for kind in STATUS_OF} | {(code,): number for code, number in counts.problems().items()},
    )


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
        "Calls that wait for a stage of the service or are in it.",
        {stage: depth for stage, (depth, _) in stages.items()},
        "stage",
    )
    yield gauge(
        "queue_limit",
        "Calls that may wait for a stage or be in it at most (MAX_QUEUE_DEPTH); one more is refused with 503.",
        {(): context.limits.max_queue_depth},
    )
    yield histogram(
        "queue_wait_seconds",
        "Time that calls were in line for a stage, before it took them.",
        "stage",
        {key: Histogram(SECONDS).include(one.waits, one.wait_seconds) for key, one in done.items()},
    )
    late, gone = ({(*key, why): getattr(one, why) for key, one in done.items()} for why in ("late", "gone"))
    yield counter(
        "queue_left",
        "Calls that left the line for a stage before their work began: late (504) or gone (the caller hung up).",
        "stage reason",
        {**late, **gone},
    )
    yield histogram(
        "batch_size",
        "Calls that went through a stage together, in one batch.",
        "stage",
        {key: Histogram(SIZES).include(one.sizes, one.items) for key, one in done.items()},
    )
    yield histogram(
        "batch_seconds",
        "Time that a batch was in a stage; in the stage `device`, time of computing.",
        "stage",
        {key: Histogram(SECONDS).include(one.durations, one.seconds) for key, one in done.items()},
    )


def _of_load(context: Context) -> Iterator[Metric]:
    load = context.load
    yield gauge(
        "backlog_seconds",
        "Estimated seconds of the device's work that was let in and is not done.",
        {(): load.backlog_seconds},
    )
    yield gauge(
        "backlog_limit_seconds",
        "Estimated seconds of the device's work that may wait in a burst (MAX_WAIT_SECONDS); beyond, 503 or 429.",
        {(): context.limits.max_wait_seconds},
    )
    yield counter(
        "load_refused",
        "Requests that were refused because too much work waits for the device: 503 overloaded, 429 share-used-up.",
        "",
        {(): load.num_refused},
    )


def _of_caches(context: Context) -> Iterator[Metric]:
    uses = {(name,): use for name, use in context.engine.cache_use.items()}
    yield gauge("cache_bytes", "Bytes that a cache holds now.", {key: use.bytes for key, use in uses.items()}, "cache")
    yield gauge(
        "cache_limit_bytes",
        "Bytes that a cache may hold at most.",
        {key: use.max_bytes for key, use in uses.items()},
        "cache",
    )
    yield gauge(
        "cache_entries",
        "Tasks, models or sentences that a cache holds.",
        {key: use.entries for key, use in uses.items()},
        "cache",
    )
    yield counter(
        "cache_hits",
        "Look-ups in a cache that found what they looked for.",
        "cache",
        {key: use.hits for key, use in uses.items()},
    )
    yield counter(
        "cache_misses",
        "Look-ups in a cache that did not find what they looked for, and loaded or made it.",
        "cache",
        {key: use.misses for key, use in uses.items()},
    )
    yield counter(
        "cache_evictions",
        "Tasks, models or sentences that a cache dropped for want of room.",
        "cache",
        {key: use.evictions for key, use in uses.items()},
    )


def _of_programs(context: Context) -> Iterator[Metric]:
    counters = context.engine.compile_counters
    yield counter(
        "programs",
        "Compiled programs: compiled here, loaded from the folder, or refused and served eagerly.",
        "outcome",
        {
            ("compiled",): counters.compiled,
            ("loaded",): counters.loaded,
            ("refused",): counters.refused,
        },
    )
    yield counter(
        "program_runs", "Batches of calls that compiled programs ran; all others ran eagerly.", "", {(): counters.runs}
    )


def _of_store(context: Context) -> Iterator[Metric]:
    yield counter(
        "store_commits",
        "Transactions of the database that this process wrote.",
        "",
        {(): context.store.num_commits},
    )
    counts: dict[JobStatus, int] = {}
    try:
        counts.update(context.store.job_counts())
    except InnerloopError as error:  # the rest is worth telling all the more
        log.warning("jobs could not be counted", reason=error.detail)
    yield gauge("store_up", "1 where the database answered this scrape, 0 where it did not.", {(): int(bool(counts))})
    yield gauge(
        "jobs",
        "Meta-training jobs of all tenants that the database holds, by status.",
        {(status,): number for status, number in counts.items()},
        "status",
    )


def _of_device(context: Context) -> Iterator[Metric]:
    memory = device_memory(context.engine.device)
    yield gauge(
        "device_memory_bytes",
        "Memory of the device: total, reserved by this process, and on a GPU allocated by its tensors.",
        {(kind,): number for kind, number in memory.items()},
        "kind",
    )
