"""Jobs as their callers see them: queries inside a transaction that the caller holds."""

from datetime import datetime
from typing import Final, get_args

from sqlalchemy import func, select, text, tuple_
from sqlalchemy.orm import Session

from app.store import datasets, idempotency
from app.store.documents import as_stored
from app.store.job_records import Job, JobStatus, NewJob
from app.store.job_states import RESUMABLE, UNFINISHED, change_status, end
from app.store.pages import check_limit, key_after, page_of, refused
from app.store.records import NewAnswer
from app.store.tables import JobRow
from innerloop.errors import DatasetNotFound, JobNotFound, JobStateConflict, Overloaded

# PostgreSQL: whoever adds a job holds it, so that two do not both find the last place free. Any number will do.
_ADVISORY_LOCK: Final = 7_205_759_404
_RETRY_AFTER_SECONDS: Final = 60.0  # a training job takes minutes


def add_job(session: Session, new: NewJob, *, now: datetime, max_queued: int, idempotent: NewAnswer[Job] | None) -> Job:
    """Add a job to the queue; see `JobStore.add_job`."""
    if session.get_bind().dialect.name == "postgresql":
        session.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _ADVISORY_LOCK})
    # Before the queue is looked at: the same request, sent twice, must find its answer.
    if idempotent is not None:
        idempotency.refuse_known(session, new.tenant, idempotent.route, idempotent.key)
    _check_room(session, max_queued)
    digest = None if new.dataset is None else datasets.sha256_for_job(session, new.tenant, new.dataset)
    row = _row(new, digest, now)
    session.add(row)
    session.flush()
    change_status(session, row, "queued", now)
    added = job_record(row)
    if idempotent is not None:
        idempotency.add_new(session, idempotent, added, tenant=new.tenant, task_id=None, created_at=now)
    return added


def jobs(session: Session, tenant: str, after: str | None, limit: int) -> tuple[list[Job], str | None]:
    """Return a page of a tenant's jobs, the newest first."""
    check_limit(limit)
    place = tuple_(JobRow.created_at, JobRow.job_id)
    query = select(JobRow).filter_by(tenant=tenant).order_by(JobRow.created_at.desc(), JobRow.job_id.desc())
    id_after = key_after("jobs", after)
    if id_after is not None:
        created_at = session.scalar(select(JobRow.created_at).filter_by(tenant=tenant, job_id=id_after))
        if created_at is None:
            raise refused("jobs")
        query = query.where(place < (created_at, id_after))
    rows, cursor = page_of(session.scalars(query.limit(limit + 1)).all(), limit, "jobs", lambda row: row.job_id)
    return [job_record(row) for row in rows], cursor


def job(session: Session, tenant: str, job_id: str) -> Job:
    """Return one job; JobNotFound."""
    row = session.scalar(select(JobRow).filter_by(tenant=tenant, job_id=job_id))
    if row is None:
        raise no_job(job_id)
    return job_record(row)


def job_counts(session: Session) -> dict[JobStatus, int]:
    """Return how many jobs of all tenants are in each state."""
    counts: dict[JobStatus, int] = dict.fromkeys(get_args(JobStatus), 0)
    for status, number in session.execute(select(JobRow.status, func.count()).group_by(JobRow.status)):
        counts[status] = number
    return counts


def check_there(session: Session, tenant: str, job_id: str) -> None:
    """Raise JobNotFound when there is no such job."""
    if session.scalar(select(JobRow.job_id).filter_by(tenant=tenant, job_id=job_id)) is None:
        raise no_job(job_id)


def request_cancel(session: Session, tenant: str, job_id: str, now: datetime) -> Job:
    """End a queued job, mark a running one; JobNotFound, JobStateConflict for one that has ended."""
    row = _locked(session, tenant, job_id)
    if row.status not in UNFINISHED:
        raise JobStateConflict(f"expected job {job_id} to be queued or running, got {row.status}")
    row.cancel_requested = True
    if row.status == "queued":
        end(session, row, "cancelled", now)
    return job_record(row)


def resume(session: Session, tenant: str, job_id: str, now: datetime) -> Job:
    """Queue a failed or cancelled job again; JobNotFound, JobStateConflict, DatasetNotFound."""
    row = _locked(session, tenant, job_id)
    if row.status not in RESUMABLE:
        raise JobStateConflict(f"expected job {job_id} to be failed or cancelled, got {row.status}")
    if row.dataset is not None and datasets.sha256_for_job(session, tenant, row.dataset) != row.dataset_sha256:
        detail = f"the data set {row.dataset} that job {job_id} began with was deleted, and another has its name"
        raise DatasetNotFound(f"{detail}; start a new job")
    row.error = row.finished_at = None
    row.cancel_requested = False
    row.crashes = 0
    change_status(session, row, "queued", now)
    return job_record(row)


def job_record(row: JobRow) -> Job:
    """Return the record of a row."""
    return Job(
        job_id=row.job_id,
        tenant=row.tenant,
        name=row.name,
        status=row.status,
        request=row.request,
        plan=row.plan,
        dataset=row.dataset,
        dataset_sha256=row.dataset_sha256,
        progress=row.progress,
        error=row.error,
        model_version=row.model_version,
        created_at=row.created_at,
        started_at=row.started_at,
        finished_at=row.finished_at,
        cancel_requested=row.cancel_requested,
        worker=row.worker,
        lease_until=row.lease_until,
        attempt=row.attempt,
        crashes=row.crashes,
        last_event=row.last_event,
    )


def no_job(job_id: str) -> JobNotFound:
    """Make the error of a job that is not there."""
    return JobNotFound(f"there is no job {job_id}; GET /meta-train lists the jobs")


def _locked(session: Session, tenant: str, job_id: str) -> JobRow:
    row = session.scalar(select(JobRow).filter_by(tenant=tenant, job_id=job_id).with_for_update())
    if row is None:
        raise no_job(job_id)
    return row


def _check_room(session: Session, max_queued: int) -> None:
    num_queued = session.scalar(select(func.count()).select_from(JobRow).filter_by(status="queued")) or 0
    if num_queued >= max_queued:
        detail = f"{num_queued} jobs are queued; at most {max_queued} may"
        raise Overloaded(f"{detail}; try again later", retry_after_seconds=_RETRY_AFTER_SECONDS)


def _row(new: NewJob, dataset_sha256: str | None, now: datetime) -> JobRow:
    return JobRow(
        job_id=new.job_id,
        tenant=new.tenant,
        name=new.name,
        status="queued",
        dataset=new.dataset,
        dataset_sha256=dataset_sha256,
        created_at=now,
        cancel_requested=False,
        attempt=0,
        crashes=0,
        furthest_iteration=0,
        last_event=0,
        progress=as_stored(new.progress),
        plan=as_stored(new.plan),
        request=as_stored(new.request),
    )
