"""Jobs as their callers see them: queries inside a transaction that the caller holds."""

from datetime import datetime
from typing import Final, NamedTuple, get_args

from sqlalchemy import delete, func, select, text, tuple_, update
from sqlalchemy.orm import Session

from app.store import datasets, idempotency
from app.store.documents import as_stored
from app.store.job_records import Job, JobStatus, NewJob
from app.store.job_states import RESUMABLE, UNFINISHED, change_status, end
from app.store.pages import check_limit, key_after, page_of, refused
from app.store.records import NewAnswer
from app.store.tables import CheckpointRow, JobEventRow, JobRow
from innerloop.errors import (
    CheckpointNotFound,
    DatasetNotFound,
    JobNotFound,
    JobStateConflict,
    Overloaded,
    TooManyJobs,
)

# PostgreSQL: whoever changes the queue holds it, so that two do not both find the last place free, or both take from
# the tenant whose turn it is. Any number will do.
_ADVISORY_LOCK: Final = 7_205_759_404
_RETRY_AFTER_SECONDS: Final = 60.0  # a training job takes minutes


class MostQueued(NamedTuple):
    """How many jobs may be queued, of all tenants and of one; 0 is any number."""

    of_all: int
    of_tenant: int


def add_job(
    session: Session, new: NewJob, *, now: datetime, most: MostQueued, idempotent: NewAnswer[Job] | None
) -> Job:
    """Add a job to the queue; see `JobStore.add_job`."""
    hold_queue(session)
    # Before the queue is looked at: the same request, sent twice, must find its answer.
    if idempotent is not None:
        idempotency.refuse_known(session, new.tenant, idempotent.route, idempotent.key)
    check_room(session, new.tenant, most)
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


def resume(session: Session, tenant: str, job_id: str, *, now: datetime, most: MostQueued) -> Job:
    """Queue a failed or cancelled job again; see `JobStore.resume_job`."""
    hold_queue(session)
    row = _locked(session, tenant, job_id)
    if row.status not in RESUMABLE:
        raise JobStateConflict(f"expected job {job_id} to be failed or cancelled, got {row.status}")
    if row.is_purged:
        raise purged(job_id)
    check_room(session, tenant, most)
    if row.dataset is not None and datasets.sha256_for_job(session, tenant, row.dataset) != row.dataset_sha256:
        detail = f"the data set {row.dataset} that job {job_id} began with was deleted, and another has its name"
        raise DatasetNotFound(f"{detail}; start a new job")
    row.error = row.finished_at = None
    row.cancel_requested = False
    row.crashes = 0
    change_status(session, row, "queued", now)
    return job_record(row)


def purge(session: Session, before: datetime, limit: int) -> int:
    """Delete events and checkpoints of up to `limit` jobs that ended before a moment; return of how many."""
    ended = select(JobRow.job_id).where(JobRow.is_purged.is_(False), JobRow.finished_at < before)
    # One that is being resumed, or that another replica is at, is left to them.
    batch = ended.order_by(JobRow.finished_at).limit(limit).with_for_update(skip_locked=True)
    job_ids = session.scalars(batch).all()
    for table in (JobEventRow, CheckpointRow):
        session.execute(delete(table).where(table.job_id.in_(job_ids)))
    session.execute(update(JobRow).where(JobRow.job_id.in_(job_ids)).values(is_purged=True))
    return len(job_ids)


def hold_queue(session: Session) -> None:
    """Keep others from changing the queue until the transaction ends; on SQLite nobody writes meanwhile anyway."""
    if session.get_bind().dialect.name == "postgresql":
        session.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _ADVISORY_LOCK})


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
        is_purged=row.is_purged,
    )


def no_job(job_id: str) -> JobNotFound:
    """Make the error of a job that is not there."""
    return JobNotFound(f"there is no job {job_id}; GET /meta-train lists the jobs")


def purged(job_id: str) -> CheckpointNotFound:
    """Make the error of a checkpoint that was deleted since its job ended long ago."""
    return CheckpointNotFound(f"job {job_id} ended so long ago that its checkpoint was deleted; start a new job")


def _locked(session: Session, tenant: str, job_id: str) -> JobRow:
    row = session.scalar(select(JobRow).filter_by(tenant=tenant, job_id=job_id).with_for_update())
    if row is None:
        raise no_job(job_id)
    return row


def check_room(session: Session, tenant: str, most: MostQueued) -> None:
    """Raise TooManyJobs or Overloaded where no more may be queued; see `JobStore.add_job`."""
    queued = select(func.count()).select_from(JobRow).filter_by(status="queued")
    if most.of_tenant and (session.scalar(queued.filter_by(tenant=tenant)) or 0) >= most.of_tenant:
        detail = f"{most.of_tenant} of your jobs are queued, and no more may be (tenant_jobs_queued in GET /limits)"
        raise TooManyJobs(f"{detail}; wait until one begins, or cancel one", retry_after_seconds=_RETRY_AFTER_SECONDS)
    if most.of_all and (session.scalar(queued) or 0) >= most.of_all:
        detail = f"the queue of jobs is full, it holds {most.of_all} (max_jobs_queued in GET /limits)"
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
        is_purged=False,
        progress=as_stored(new.progress),
        plan=as_stored(new.plan),
        request=as_stored(new.request),
    )
