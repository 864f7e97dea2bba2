"""Define what the service says of itself: limits, health and problems."""

from typing import Literal

from pydantic import ConfigDict

from innerloop.wire.parts import Answer


class Limits(Answer):
    """Hold every cap as a number; the values here are the service's defaults."""

    model_config = ConfigDict(extra="allow")

    max_classes: int = 100
    max_support_rows: int = 1000
    max_query_rows: int = 10_000
    max_steps: int = 100
    max_body_bytes: int = 64 * 1024 * 1024
    max_revisions: int = 20
    max_learning_rate: float = 10.0
    max_learning_rate_scale: float = 100.0
    max_picture_pixels: int = 25_000_000
    max_request_pixels: int = 1_000_000_000
    max_text_chars: int = 2000
    max_queue_depth: int = 1000
    max_wait_seconds: float = 1.0
    rush_wait_seconds: float = 0.1
    tenant_requests_per_second: float = 0.0
    """Of the caller's tenant, as the five after it; 0 is any number, as all are while the service has no keys."""
    tenant_burst_requests: int = 0
    tenant_requests_at_once: int = 0
    tenant_tasks: int = 0
    tenant_bytes: int = 0
    tenant_jobs_queued: int = 0
    max_batch_requests: int = 256
    max_idempotency_key_chars: int = 255
    max_iterations: int = 1_000_000
    max_meta_batch_size: int = 1000
    max_ways: int = 100
    max_shots: int = 100
    max_queries: int = 100
    max_network_parameters: int = 50_000_000
    max_dataset_rows: int = 1_000_000
    max_dataset_bytes: int = 128 * 1024 * 1024
    max_archive_entries: int = 100_000
    max_jobs_queued: int = 100


class Health(Answer):
    """Say that the process is alive."""

    status: Literal["ok"] = "ok"


class Readiness(Answer):
    """Say whether the service takes work, and if not, why."""

    ready: bool
    reasons: list[str]


class ProblemField(Answer):
    """Name one wrong field."""

    loc: list[str | int]
    msg: str


class Problem(Answer):
    """Describe an error as RFC 9457 does; `error` repeats `detail`, `remedy` is what to do about any of this code."""

    type: str
    title: str
    status: int
    code: str
    detail: str
    error: str
    remedy: str = ""  # not there in what an earlier release answered
    request_id: str
    errors: list[ProblemField]


class ProblemInfo(Answer):
    """Explain an error code."""

    code: str
    title: str
    status: int
    remedy: str
