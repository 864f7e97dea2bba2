"""Events of jobs: queries inside a transaction that the caller holds."""

from datetime import datetime

from sqlalchemy import select
from sqlalchemy.orm import Session

from app.store.job_records import JobEvent, JobEventKind
from app.store.pages import check_limit
from app.store.records import Json
from app.store.tables import MAX_INTEGER, JobEventRow, JobRow


def append(session: Session, job: JobRow, kind: JobEventKind, data: Json, now: datetime) -> None:
    """Add an event under the next number; the caller holds the lock of the job's row."""
    job.last_event += 1
    row = JobEventRow(job_id=job.job_id, event_id=job.last_event, kind=kind, created_at=now, data=data)
    session.add(row)


def job_events(session: Session, job_id: str, after: int, limit: int) -> list[JobEvent]:
    """Return the events of a job after a number, the oldest first."""
    check_limit(limit)
    query = select(JobEventRow).filter_by(job_id=job_id).where(JobEventRow.event_id > _storable(after))
    return [_record(row) for row in session.scalars(query.order_by(JobEventRow.event_id).limit(limit))]


def _storable(after: int) -> int:
    return max(0, min(after, MAX_INTEGER))


def _record(row: JobEventRow) -> JobEvent:
    return JobEvent(job_id=row.job_id, event_id=row.event_id, kind=row.kind, data=row.data, created_at=row.created_at)
