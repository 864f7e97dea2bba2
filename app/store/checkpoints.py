"""Checkpoints: queries inside a transaction that the caller holds. A job keeps its last one alone."""

from datetime import datetime

from sqlalchemy import select
from sqlalchemy.orm import Session

from app.store.claims import held, is_held, lease_lost
from app.store.job_records import Checkpoint, Claim
from app.store.jobs import job, purged
from app.store.records import Blob
from app.store.tables import CheckpointRow, JobRow
from innerloop.errors import CheckpointNotFound


def checkpoint(session: Session, tenant: str, job_id: str) -> Checkpoint:
    """Return the last checkpoint of a job; JobNotFound, CheckpointNotFound."""
    query = select(CheckpointRow, CheckpointRow.data).join(JobRow).where(JobRow.tenant == tenant)
    found = session.execute(query.where(JobRow.job_id == job_id)).one_or_none()
    if found is None:
        if job(session, tenant, job_id).is_purged:
            raise purged(job_id)
        raise CheckpointNotFound(f"job {job_id} has no checkpoint yet; it writes one at every validation")
    row, data = found
    return _record(row, data)


def checkpoint_of(session: Session, claim: Claim) -> Checkpoint | None:
    """Return the last checkpoint of the claim's job, None when there is none; LeaseLost."""
    query = select(JobRow.job_id, CheckpointRow, CheckpointRow.data).outerjoin(CheckpointRow).where(is_held(claim))
    found = session.execute(query).one_or_none()
    if found is None:
        raise lease_lost(claim)
    _, row, data = found
    return None if row is None else _record(row, data)


def save_checkpoint(session: Session, claim: Claim, iteration: int, data: Blob, sha256: str, *, now: datetime) -> None:
    """Replace the last checkpoint of the claim's job by one that is as far or further; LeaseLost."""
    held(session, claim)
    row = session.get(CheckpointRow, claim.job_id)
    if row is None:
        row = CheckpointRow(job_id=claim.job_id, iteration=iteration)
        session.add(row)
    if iteration < row.iteration:
        return
    row.attempt = claim.attempt
    row.iteration = iteration
    row.bytes = len(data)
    row.sha256 = sha256
    row.created_at = now
    row.data = data


def _record(row: CheckpointRow, data: Blob) -> Checkpoint:
    return Checkpoint(
        job_id=row.job_id,
        attempt=row.attempt,
        iteration=row.iteration,
        bytes=row.bytes,
        sha256=row.sha256,
        created_at=row.created_at,
        data=data,
    )
