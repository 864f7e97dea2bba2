"""Claims: what a worker does to a job, inside a transaction that the caller holds.

A claim is a fence: what is written under it changes nothing once another attempt has begun or the job has ended.
"""

from datetime import datetime, timedelta
from typing import Any, Literal

from sqlalchemy import ColumnElement, and_, func, or_, select, update
from sqlalchemy.orm import Session, aliased

from app.store import models
from app.store.job_events import append
from app.store.job_records import AnyVersion, Claim, Job, LeaseLost
from app.store.job_states import change_status, crash, end
from app.store.jobs import hold_queue, job_record
from app.store.models import NewVersion
from app.store.records import Json, ModelVersion
from app.store.tables import JobRow

# Leases are seconds long. One that ends later than this was given before the clock was set back.
_FARTHEST_LEASES = 10
_FARTHEST_SECONDS = 60.0


def any_claimable(session: Session, now: datetime, lease_seconds: float) -> bool:
    """Return whether a job waits for a worker, or has a lease that no worker of these leases can have asked for."""
    waits = or_(_claimable(now), _is_far(now, lease_seconds))
    return session.scalar(select(JobRow.job_id).where(waits).limit(1)) is not None


def claim_job(
    session: Session, worker: str, *, now: datetime, lease_seconds: float, max_crashes: int, crash_error: Json
) -> tuple[Job, Claim] | None:
    """Claim the job whose turn it is of those that wait for a worker; see `JobStore.claim_job`."""
    hold_queue(session)
    # Whose clock was set back keeps its job by renewing in time, as ever; one that died is not waited for that long.
    lease = {"lease_until": now + timedelta(seconds=lease_seconds)}
    session.execute(update(JobRow).where(_is_far(now, lease_seconds)).values(lease))
    next_one = select(JobRow).where(_claimable(now)).order_by(*_turn(now)).limit(1)
    # A job that somebody else is at is left to them.
    while (row := session.scalar(next_one.with_for_update(skip_locked=True, of=JobRow))) is not None:
        if row.cancel_requested:
            end(session, row, "cancelled", now)
        elif row.status == "queued" or crash(session, row, now, max_crashes=max_crashes, crash_error=crash_error):
            return _claimed(session, row, worker, now, lease_seconds)
    return None


def held(session: Session, claim: Claim) -> JobRow:
    """Return the claim's job and keep others from changing it until the transaction ends; LeaseLost."""
    row = session.scalar(select(JobRow).where(is_held(claim)).with_for_update())
    if row is None:
        raise lease_lost(claim)
    return row


def is_held(claim: Claim) -> ColumnElement[bool]:
    """Return as a condition of a query that the job still is the claim's."""
    is_attempt = and_(JobRow.job_id == claim.job_id, JobRow.attempt == claim.attempt)
    return and_(is_attempt, JobRow.worker == claim.worker, JobRow.status == "running")


def lease_lost(claim: Claim) -> LeaseLost:
    """Make the error of a claim that holds no longer."""
    return LeaseLost(f"attempt {claim.attempt} of {claim.worker} at job {claim.job_id} is over; nothing was stored")


def renew_lease(session: Session, claim: Claim, *, now: datetime, lease_seconds: float) -> bool:
    """Keep the job for longer and return whether it is to be cancelled; LeaseLost."""
    row = held(session, claim)
    row.lease_until = now + timedelta(seconds=lease_seconds)
    return row.cancel_requested


def report_progress(session: Session, claim: Claim, progress: Json, *, now: datetime, event: bool) -> None:
    """Store how far the job is, and forget its crashes where it was never further; LeaseLost."""
    row = held(session, claim)
    row.progress = progress
    if progress["iteration"] > row.furthest_iteration:
        row.furthest_iteration = progress["iteration"]
        row.crashes = 0
    if event:
        append(session, row, "progress", progress, now)


def release_job(
    session: Session, claim: Claim, *, now: datetime, crashed: bool, max_crashes: int, crash_error: Json
) -> Job:
    """Give the job back to the queue, or end it; see `JobStore.release_job`."""
    row = held(session, claim)
    if row.cancel_requested:
        end(session, row, "cancelled", now)
    elif not crashed or crash(session, row, now, max_crashes=max_crashes, crash_error=crash_error):
        change_status(session, row, "queued", now)
    return job_record(row)


def end_job(
    session: Session, claim: Claim, status: Literal["failed", "cancelled"], error: Json | None, *, now: datetime
) -> Job:
    """End the job without a model; LeaseLost."""
    row = held(session, claim)
    end(session, row, status, now, error=error)
    return job_record(row)


def complete_job(
    session: Session,
    claim: Claim,
    new: NewVersion,
    *,
    promote: bool,
    expected_active: int | AnyVersion | None,
    now: datetime,
) -> tuple[Job, ModelVersion]:
    """Store the job's model version and end the job; see `JobStore.complete_job`."""
    row = held(session, claim)
    models.expect_active(session, new.name, expected_active, now)
    version = models.add_version(session, new, now, activate_first=False)
    if promote:
        models.promote(session, new.name, version.version)
    end(session, row, "succeeded", now, model_version=version.version)
    return job_record(row), version


def _claimable(now: datetime) -> ColumnElement[bool]:
    is_abandoned = and_(JobRow.status == "running", JobRow.lease_until <= now)
    return or_(JobRow.status == "queued", is_abandoned)


def _turn(now: datetime) -> tuple[ColumnElement[Any], ...]:
    """Return what jobs are taken by: their tenants share the workers, and of one tenant the oldest is first.

    The tenant with the fewest running jobs is first, then the one from whom none was taken for the longest.
    """
    other = aliased(JobRow)
    runs = and_(other.tenant == JobRow.tenant, other.status == "running", other.lease_until > now)
    num_running = select(func.count(other.job_id)).where(runs).scalar_subquery()
    last_turn = select(func.max(other.claimed_at)).where(other.tenant == JobRow.tenant).scalar_subquery()
    return num_running, last_turn.nulls_first(), JobRow.created_at.expression, JobRow.job_id.expression


def _is_far(now: datetime, lease_seconds: float) -> ColumnElement[bool]:
    farthest = now + timedelta(seconds=max(_FARTHEST_SECONDS, _FARTHEST_LEASES * lease_seconds))
    return and_(JobRow.status == "running", JobRow.lease_until > farthest)


def _claimed(session: Session, row: JobRow, worker: str, now: datetime, lease_seconds: float) -> tuple[Job, Claim]:
    row.attempt += 1
    row.worker = worker
    row.lease_until = now + timedelta(seconds=lease_seconds)
    row.started_at = row.started_at or now
    row.claimed_at = now
    change_status(session, row, "running", now)
    return job_record(row), Claim(row.job_id, worker, row.attempt)
