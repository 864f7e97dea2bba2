"""Records of jobs: what the store takes and gives back. Frozen, and nothing in them is tied to a database."""

from dataclasses import dataclass
from datetime import datetime
from enum import Enum
from typing import Final, Literal, TypeAlias

from app.store.records import Blob, Json

JobStatus: TypeAlias = Literal["queued", "running", "succeeded", "failed", "cancelled"]
JobEventKind: TypeAlias = Literal["progress", "status", "end"]


class AnyVersion(Enum):
    """Say that a job's version may be stored whichever version is active."""

    ANY = "any"


ANY_VERSION: Final = AnyVersion.ANY


class LeaseLost(Exception):
    """A worker wrote to a job that is no longer its own; nothing was stored."""


class ActiveVersionChanged(Exception):
    """Another version became active than the one that the caller compared with; nothing was stored."""


@dataclass(frozen=True, slots=True)
class NewJob:
    """Hold what a new job is made of.

    `plan` holds the numbers that are fixed when the job is accepted, `progress` what is shown of it before it
    starts; `dataset` names the data set that it needs, if any.
    """

    job_id: str
    tenant: str
    name: str
    request: Json
    plan: Json
    progress: Json
    dataset: str | None = None


@dataclass(frozen=True, slots=True)
class Job:
    """Describe a job; `name` and `model_version` are those of its model.

    `progress` is what was reported last. `worker` and `lease_until` are there while it runs. `attempt` grows with
    each claim, `crashes` counts those that brought it no further, `last_event` is the number of its newest event.
    `dataset_sha256` is of the data set as the job was accepted with it. `is_purged` says that it ended so long ago that
    its events and its checkpoint were deleted.
    """

    job_id: str
    tenant: str
    name: str
    status: JobStatus
    request: Json
    plan: Json
    dataset: str | None
    dataset_sha256: str | None
    progress: Json
    error: Json | None
    model_version: int | None
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
    cancel_requested: bool
    worker: str | None
    lease_until: datetime | None
    attempt: int
    crashes: int
    last_event: int
    is_purged: bool = False


@dataclass(frozen=True, slots=True)
class Claim:
    """Name one attempt at a job by one worker; what is written under it is fenced."""

    job_id: str
    worker: str
    attempt: int


@dataclass(frozen=True, slots=True)
class JobEvent:
    """Hold one event of a job; ids are 1, 2, 3 and so on, without a gap."""

    job_id: str
    event_id: int
    kind: JobEventKind
    data: Json
    created_at: datetime


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """Hold the last checkpoint of a job; `bytes` counts `data`, `sha256` is of it."""

    job_id: str
    attempt: int
    iteration: int
    bytes: int
    sha256: str
    created_at: datetime
    data: Blob
