"""The part of the store that keeps jobs; `store` says what holds for all of its operations.

Callers add, list, cancel and resume jobs; `job_states` draws how a job goes from state to state. Workers claim
them. What takes a `Claim` raises LeaseLost, and changes nothing, once that attempt at the job is over.
"""

from datetime import datetime
from hashlib import sha256
from typing import Literal

from app.store import checkpoints, claims, job_events, jobs, models
from app.store.database import Database
from app.store.documents import as_stored
from app.store.job_records import AnyVersion, Checkpoint, Claim, Job, JobEvent, JobStatus, NewJob
from app.store.records import Json, ModelVersion, NewAnswer


class JobStore:
    """Keep jobs, their events and their last checkpoints."""

    _database: Database

    # ---- for callers ----

    def add_job(
        self,
        new: NewJob,
        *,
        now: datetime,
        max_queued: int,
        max_queued_of_tenant: int = 0,
        idempotent: NewAnswer[Job] | None = None,
    ) -> Job:
        """Queue a job; DatasetNotFound, and where no more may be queued, of which 0 is any number, as follows.

        TooManyJobs when `max_queued_of_tenant` of its tenant's are, Overloaded when `max_queued` of all tenants' are.
        With `idempotent` its answer is stored too; IdempotencyInFlight when its key was answered meanwhile:
        read `idempotent_answer` and compare the bodies.
        """
        with self._database.write() as session:
            most = jobs.MostQueued(max_queued, max_queued_of_tenant)
            return jobs.add_job(session, new, now=now, most=most, idempotent=idempotent)

    def check_job_room(self, tenant: str, *, max_queued: int, max_queued_of_tenant: int = 0) -> None:
        """Raise what `add_job` would where no more may be queued now."""
        with self._database.read() as session:
            jobs.check_room(session, tenant, jobs.MostQueued(max_queued, max_queued_of_tenant))

    def jobs(self, tenant: str, *, after: str | None = None, limit: int = 50) -> tuple[list[Job], str | None]:
        """Return a page of a tenant's jobs, the newest first; jobs that are added meanwhile do not move it."""
        with self._database.read() as session:
            return jobs.jobs(session, tenant, after, limit)

    def job(self, tenant: str, job_id: str) -> Job:
        """Return a job; JobNotFound."""
        with self._database.read() as session:
            return jobs.job(session, tenant, job_id)

    def job_events(self, tenant: str, job_id: str, *, after: int = 0, limit: int = 500) -> list[JobEvent]:
        """Return up to `limit` events of a job that came after number `after`, the oldest first; JobNotFound."""
        with self._database.read() as session:
            jobs.check_there(session, tenant, job_id)
            return job_events.job_events(session, job_id, after, limit)

    def checkpoint(self, tenant: str, job_id: str) -> Checkpoint:
        """Return the last checkpoint of a job; JobNotFound, CheckpointNotFound."""
        with self._database.read() as session:
            return checkpoints.checkpoint(session, tenant, job_id)

    def request_cancel(self, tenant: str, job_id: str, *, now: datetime) -> Job:
        """Cancel a queued job; mark a running one for its worker to cancel; JobNotFound.

        JobStateConflict when it has ended. Asking again for a running one changes nothing.
        """
        with self._database.write() as session:
            return jobs.request_cancel(session, tenant, job_id, now)

    def resume_job(
        self, tenant: str, job_id: str, *, now: datetime, max_queued: int = 0, max_queued_of_tenant: int = 0
    ) -> Job:
        """Queue a failed or cancelled job again, its checkpoint kept and its crashes forgotten; JobNotFound.

        JobStateConflict in another state; CheckpointNotFound when it ended so long ago that it was purged;
        DatasetNotFound when the data set that it began with is gone; as `add_job` where no more may be queued.
        """
        with self._database.write() as session:
            most = jobs.MostQueued(max_queued, max_queued_of_tenant)
            return jobs.resume(session, tenant, job_id, now=now, most=most)

    def purge_jobs(self, *, before: datetime, limit: int = 10) -> int:
        """Delete events and checkpoints of up to `limit` jobs that ended before a moment; return of how many jobs.

        The jobs stay. Call again until 0.
        """
        with self._database.write() as session:
            return jobs.purge(session, before, limit)

    def job_counts(self) -> dict[JobStatus, int]:
        """Return how many jobs of all tenants are in each state."""
        with self._database.read() as session:
            return jobs.job_counts(session)

    # ---- for workers ----

    def claim_job(
        self, worker: str, *, now: datetime, lease_seconds: float, max_crashes: int, crash_error: Json
    ) -> tuple[Job, Claim] | None:
        """Claim a job that is queued or whose worker let its lease run out, None when there is none.

        The tenant with the fewest running jobs is first, then the one whose turn is longest ago; of it the oldest job.
        A lease that ran out counts as a crash; over `max_crashes` of them in a row, without progress between,
        the job fails with `crash_error` and the next one is looked at. One that was to be cancelled is. A lease that
        ends too late to be of this clock, which was set back, ends `lease_seconds` from now unless it is renewed.
        """
        error = as_stored(crash_error)
        with self._database.read() as session:  # a poll that finds nothing keeps no writer waiting
            if not claims.any_claimable(session, now, lease_seconds):
                return None
        with self._database.write() as session:
            return claims.claim_job(
                session, worker, now=now, lease_seconds=lease_seconds, max_crashes=max_crashes, crash_error=error
            )

    def renew_lease(self, claim: Claim, *, now: datetime, lease_seconds: float) -> bool:
        """Keep the job until `lease_seconds` from `now`, and return whether it is to be cancelled."""
        with self._database.write() as session:
            return claims.renew_lease(session, claim, now=now, lease_seconds=lease_seconds)

    def report_progress(self, claim: Claim, progress: Json, *, now: datetime, event: bool) -> None:
        """Store how far the job is, as an event too with `event`.

        A `progress["iteration"]` that no attempt had reached before forgets the crashes.
        """
        document = as_stored(progress)
        with self._database.write() as session:
            claims.report_progress(session, claim, document, now=now, event=event)

    def save_checkpoint(self, claim: Claim, iteration: int, data: bytes, *, now: datetime) -> None:
        """Put a checkpoint in place of the last one; one of a lower iteration is not taken."""
        digest = sha256(data).hexdigest()
        with self._database.write() as session:
            checkpoints.save_checkpoint(session, claim, iteration, data, digest, now=now)

    def checkpoint_of(self, claim: Claim) -> Checkpoint | None:
        """Return the last checkpoint of the claim's job, whichever attempt wrote it; None when there is none."""
        with self._database.read() as session:
            return checkpoints.checkpoint_of(session, claim)

    def release_job(self, claim: Claim, *, now: datetime, crashed: bool, max_crashes: int, crash_error: Json) -> Job:
        """Give the job back to the queue; one that was to be cancelled is cancelled.

        With `crashed` it counts as a crash, as in `claim_job`.
        """
        error = as_stored(crash_error)
        with self._database.write() as session:
            return claims.release_job(
                session, claim, now=now, crashed=crashed, max_crashes=max_crashes, crash_error=error
            )

    def end_job(
        self, claim: Claim, status: Literal["failed", "cancelled"], error: Json | None, *, now: datetime
    ) -> Job:
        """End the job without a model."""
        document = as_stored(error)
        with self._database.write() as session:
            return claims.end_job(session, claim, status, document, now=now)

    def complete_job(
        self,
        claim: Claim,
        name: str,
        card: Json,
        weights: bytes,
        *,
        promote: bool,
        expected_active: int | AnyVersion | None,
        now: datetime,
    ) -> tuple[Job, ModelVersion]:
        """End the job with a model: add the version, and make it active if told, be it the first one or not.

        ActiveVersionChanged, and nothing stored, unless `expected_active` still is the active version of
        that name: None when there was none, ANY_VERSION when it does not matter.
        """
        new = models.hashed(name, card, weights)
        with self._database.write() as session:
            return claims.complete_job(session, claim, new, promote=promote, expected_active=expected_active, now=now)
