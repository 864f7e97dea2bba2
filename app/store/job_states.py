"""The states of a job. Each change of state goes through here and leaves an event.

    add ──> queued ──claim──> running ──complete──> succeeded
             │  ^               │ │ │
             │  │<───release────┘ │ │
             │  │                 │ └──end, or one crash too many──> failed
             │  │                 │                                    │
             │  │<───────────────────────────resume────────────────────┤
             │                    │                                    │
             └──────cancel────────┴──end, or release when cancelled──> cancelled

A running job whose lease has run out is claimed again and goes on running, under the next attempt. A cancel
ends a queued job at once; a running one is only marked, and whoever works on it, or claims it next, ends it.
"""

from datetime import datetime
from typing import Final, Literal

from sqlalchemy.orm import Session

from app.store.job_events import append
from app.store.job_records import JobStatus
from app.store.records import Json
from app.store.tables import JobRow

UNFINISHED: Final = ("queued", "running")
RESUMABLE: Final = ("failed", "cancelled")


def change_status(session: Session, job: JobRow, status: JobStatus, now: datetime) -> None:
    """Move a job to a state; one that does not run belongs to no worker."""
    job.status = status
    if status != "running":
        job.worker = job.lease_until = None
    append(session, job, "status", {"status": status}, now)


def end(
    session: Session,
    job: JobRow,
    status: Literal["succeeded", "failed", "cancelled"],
    now: datetime,
    *,
    error: Json | None = None,
    model_version: int | None = None,
) -> None:
    """Move a job to a state that is an end."""
    job.error = error
    job.model_version = model_version
    job.finished_at = now
    change_status(session, job, status, now)
    append(session, job, "end", {"status": status, "model_version": model_version, "error": error}, now)


def crash(session: Session, job: JobRow, now: datetime, *, max_crashes: int, crash_error: Json) -> bool:
    """Count a crash and return whether the job may be tried again; it has failed where not."""
    job.crashes += 1
    if job.crashes <= max_crashes:
        return True
    end(session, job, "failed", now, error=crash_error)
    return False
