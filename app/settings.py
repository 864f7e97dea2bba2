"""One frozen object of settings, read once from the environment; README.md has a line for each."""

import ipaddress
from collections.abc import Iterable
from difflib import get_close_matches
from pathlib import Path
from typing import Literal

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict

REPOSITORY = Path(__file__).resolve().parent.parent
MIB = 1024 * 1024
NEARLY = 0.9
"""How alike, as difflib measures it, a name is that was meant to be another."""


class Settings(BaseSettings):
    """How the service runs. A field is set by the environment variable of its name in capitals."""

    model_config = SettingsConfigDict(frozen=True, extra="ignore", env_ignore_empty=True)

    host: str = Field(
        "127.0.0.1", description="Address to listen on; beyond loopback there must be a key, or ALLOW_NO_KEYS=1"
    )
    port: int = Field(8000, ge=0, le=65535, description="Port to listen on; 0 takes a free one")
    allow_no_keys: bool = Field(False, description="Serve other machines although no key is configured")
    data_dir: Path = Field(Path("data"), description="Folder of the SQLite database")
    database_url: str | None = Field(None, description="`postgresql://...`; absent: SQLite in DATA_DIR")
    sqlite_synchronous: Literal["NORMAL", "FULL"] = Field(
        "NORMAL", description="What was answered survives kill -9; with FULL a power cut too"
    )
    models_dir: Path = Field(REPOSITORY / "models", description="Shipped models, registered at start")
    default_model: str = Field(
        "sinusoid", pattern=r"^[A-Za-z0-9_-]{1,64}$", description="Model of a new task that names none"
    )
    device: str = Field("auto", description="`cpu`, `cuda`, `cuda:1`; `auto` is a GPU where there is one")
    compile_serving: Literal["auto", "never"] = Field(
        "auto", description="`auto`: what is asked often is compiled in the background, where a C++ compiler is found"
    )
    compute_threads: int = Field(0, ge=0, description="CPU threads of a computation; 0 is half the cores")
    task_cache_bytes: int = Field(256 * MIB, ge=0, description="Adapted parameters kept on the device")
    model_cache_bytes: int = Field(512 * MIB, ge=0, description="Models kept on the device")
    text_cache_bytes: int = Field(64 * MIB, ge=0, description="Embeddings of sentences kept, by content")
    store_wait_ms: int = Field(5_000, ge=1, description="Longest wait for a lock or a connection of the store")
    store_connections: int = Field(10, ge=1, description="Connections to the store")
    purge_every_seconds: float = Field(
        30.0, gt=0, le=60, description="How often expired tasks are deleted; at most 60, as they go within a minute"
    )
    audit_days: int = Field(90, ge=0, description="How long the audit log keeps what was done; 0 keeps no log")
    job_days: int = Field(
        30, ge=0, le=36_500, description="How long events and checkpoint of a job that ended are kept; 0 keeps them"
    )
    idempotency_ttl_seconds: int = Field(86_400, ge=1, description="How long an Idempotency-Key is remembered")
    drain_delay_seconds: float = Field(
        0.0, ge=0, description="After SIGTERM: go on serving so long with /readyz at 503, for load balancers"
    )
    drain_timeout_seconds: int = Field(30, ge=1, description="After that: longest wait for requests under way")
    job_worker: bool = Field(True, description="Work on meta-training jobs here; else `python -m app worker` does")
    training_device: str = Field("same", description="Device of meta-training jobs; `same` is that of DEVICE")
    training_threads: int = Field(0, ge=0, description="CPU threads of a meta-training job; 0 is half the cores")
    heartbeat_seconds: float = Field(2.0, gt=0, description="The job of a dead worker goes on elsewhere within three")
    max_job_crashes: int = Field(10, ge=0, description="Deaths of a training process without progress, then it failed")
    log_format: Literal["text", "json"] = Field("text", description="How log lines are written")
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = Field("INFO", description="Least level logged")
    otel_exporter_otlp_endpoint: str | None = Field(
        None, pattern=r"^https?://", description="`http://...` of a collector that takes traces by OTLP over HTTP"
    )

    tenant_requests_per_second: float = Field(500.0, ge=0, description="Requests a second of a tenant; 0: any number")
    tenant_burst_requests: int = Field(2_000, ge=1, description="Requests of a tenant at once after a pause")
    tenant_requests_at_once: int = Field(256, ge=0, description="Requests of a tenant under way; 0: any number")
    tenant_tasks: int = Field(1_000_000, ge=0, description="Tasks kept of a tenant; 0: any number")
    tenant_bytes: int = Field(
        10 * 1024 * MIB,
        ge=0,
        description="Bytes kept of a tenant: revisions, answers, data sets, its models, checkpoints; 0: any number",
    )
    tenant_jobs_queued: int = Field(20, ge=0, description="Meta-training: jobs of a tenant that wait; 0: any number")

    max_body_bytes: int = Field(64 * MIB, ge=1, description="Largest request body")
    max_support_rows: int = Field(1_000, ge=1, description="Support rows of a task, appended ones included")
    max_query_rows: int = Field(10_000, ge=1, description="Rows of one prediction")
    max_classes: int = Field(100, ge=2, description="Classes of a task")
    max_steps: int = Field(100, ge=1, description="Inner-loop steps, where the model's card allows as many")
    max_learning_rate: float = Field(10.0, gt=0, description="Largest learning_rate")
    max_learning_rate_scale: float = Field(100.0, gt=0, description="Largest learning_rate_scale")
    max_revisions: int = Field(20, ge=1, description="Revisions kept of a task, the newest")
    max_picture_pixels: int = Field(25_000_000, ge=1, description="Pixels of a PNG or JPEG")
    max_request_pixels: int = Field(1_000_000_000, ge=1, description="Pixels of all pictures that come together")
    max_text_chars: int = Field(2_000, ge=1, description="Characters of a sentence")
    max_queue_depth: int = Field(1_000, ge=1, description="Requests that wait for the device")
    max_wait_seconds: float = Field(1.0, gt=0, description="Work that may wait for the device, in seconds of it")
    rush_wait_seconds: float = Field(
        0.1, gt=0, description="The same once that was not enough, until nothing was refused for a second"
    )
    max_batch_requests: int = Field(256, ge=1, description="Calls in one `/adapt/batch` or `/predict/batch`")
    max_iterations: int = Field(1_000_000, ge=1, description="Meta-training: iterations")
    max_meta_batch_size: int = Field(1_000, ge=1, description="Meta-training: tasks of an iteration")
    max_ways: int = Field(100, ge=2, description="Meta-training: classes of an episode")
    max_shots: int = Field(100, ge=1, description="Meta-training: support rows, a class or a task")
    max_queries: int = Field(100, ge=1, description="Meta-training: query rows, a class or a task")
    max_jobs_queued: int = Field(100, ge=1, description="Meta-training: jobs that wait")
    max_dataset_rows: int = Field(1_000_000, ge=1, description="Rows of a data set")
    max_dataset_bytes: int = Field(128 * MIB, ge=1, description="Bytes of a data set, decoded")
    max_archive_entries: int = Field(100_000, ge=1, description="Files in an uploaded archive")
    max_network_parameters: int = Field(50_000_000, ge=1, description="Meta-training: numbers in a network")

    @property
    def store_url(self) -> str:
        """The database's URL."""
        return self.database_url or f"sqlite:///{self.data_dir.resolve()}/innerloop.db"


def misspelt(names: Iterable[str]) -> dict[str, str]:
    """Return which names of variables are no settings, but nearly: name -> the setting."""
    known = {name.upper() for name in Settings.model_fields}
    found = {}
    for name in sorted(names):
        if name.upper() not in known:
            for near in get_close_matches(name.upper(), known, 1, NEARLY):
                found[name] = near
    return found


def is_loopback(host: str) -> bool:
    """Tell whether an address reaches this machine alone."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
