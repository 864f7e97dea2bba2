"""One attempt at a job: a child that trains, and the bookkeeping of what it tells. Every write is fenced."""

import threading
import time
from collections.abc import Callable
from datetime import datetime
from typing import Any

import structlog

from app.card import Card
from app.jobs.frames import Frame
from app.jobs.job_errors import CRASHED
from app.jobs.model_files import ModelFiles
from app.jobs.options import WorkerOptions
from app.jobs.process import Child, ChildDied
from app.jobs.promotion import same_schema
from app.store import ActiveVersionChanged, Claim, Job, ModelVersion, Store
from innerloop.errors import ModelNotFound, StoreFull, StoreUnavailable, VersionNotFound

TICK_SECONDS = 0.1
EVENT_SHARE = 0.01
"""A progress event is stored after this share of the time that the attempt has run: their number stays small."""
COMPARE_SECONDS = 600.0

log = structlog.get_logger()


class Attempt:
    """From a claim to the job's end, or to its return to the queue."""

    def __init__(
        self,
        store: Store,
        options: WorkerOptions,
        clock: Callable[[], datetime],
        job: Job,
        claim: Claim,
        stopping: threading.Event,
        wake: threading.Event,
    ) -> None:
        self._store, self._options, self._clock = store, options, clock
        self._job, self._claim = job, claim
        self._stopping, self._wake = stopping, wake
        self._started = time.monotonic()
        self._next_renewal = self._next_event = 0.0
        self._cancelled = False
        self._stop_deadline: float | None = None
        self._unsaved: Frame | None = None
        self._validation: dict[str, Any] = {
            name: job.progress.get(name) for name in ("validation_loss", "validation_accuracy")
        }

    def run(self) -> Job:
        """See the attempt through and return the job as it is left; LeaseLost when another worker has it."""
        child = Child(self._job.plan["threads"])
        log.info("training process started", job=self._job.job_id, pid=child.pid)
        try:
            child.send(*self._assignment())
            return self._follow(child)
        except ChildDied as error:
            log.warning("the training process died", job=self._job.job_id, reason=str(error))
            return self._left(crashed=not self._stop_deadline)
        finally:
            child.close()

    def _assignment(self) -> list[Frame]:
        """Return what the child needs to know."""
        job = self._job
        head = {
            "job_id": job.job_id,
            "request": job.request,
            "threads": job.plan["threads"],
            "limits": self._options.limits.model_dump(),
            "device": self._options.device,
            "programs": str(self._options.programs.resolve()) if self._options.programs else None,
        }
        frames = [Frame("job", head)]
        if job.dataset is not None:
            data = self._store.dataset_bytes(job.tenant, job.dataset)
            frames.append(Frame("dataset", {"name": job.dataset}, data))
        checkpoint = self._store.checkpoint_of(self._claim)
        if checkpoint is not None:
            frames.append(Frame("checkpoint", {}, checkpoint.data))
        return [*frames, Frame("begin", {})]

    def _follow(self, child: Child) -> Job:
        """Take what the child tells until one of its last words; keep the lease meanwhile."""
        heard = time.monotonic()
        while True:
            self._tend(child)
            frame = child.next_frame(TICK_SECONDS)
            if frame is None:
                if time.monotonic() - heard > self._options.silence_seconds:
                    raise ChildDied(f"it said nothing for {self._options.silence_seconds} seconds")
                continue
            heard = time.monotonic()
            if frame.kind == "progress":
                self._report(frame.head)
            elif frame.kind == "checkpoint":
                self._unsaved = frame
                self._save()
            elif frame.kind == "stopped":
                return self._left(crashed=False)
            elif frame.kind == "failed":
                return self._failed(frame.head)
            elif frame.kind == "finished":
                return self._finished(child, Card.model_validate(frame.head["card"]), frame.payload)

    def _tend(self, child: Child) -> None:
        """Renew the lease in time, pass a wish to stop on, and end a child that does not heed it."""
        moment = time.monotonic()
        if moment >= self._next_renewal or self._wake.is_set():
            self._wake.clear()
            self._renew(moment)
        if self._unsaved:
            self._save()
        if (self._cancelled or self._stopping.is_set()) and self._stop_deadline is None:
            self._stop_deadline = moment + self._options.stop_seconds
            child.send(Frame("stop", {}))
        if self._stop_deadline is not None and moment > self._stop_deadline:
            raise ChildDied("it did not stop in time")

    def _renew(self, moment: float) -> None:
        try:
            self._cancelled |= self._store.renew_lease(
                self._claim, now=self._clock(), lease_seconds=self._options.lease_seconds
            )
        except (StoreUnavailable, StoreFull) as error:  # it may be back in time; if not, the fence holds
            log.warning("the lease could not be renewed", job=self._job.job_id, reason=error.detail)
        self._next_renewal = moment + self._options.poll_seconds

    def _report(self, told: dict[str, Any]) -> None:
        self._validation.update({name: told[name] for name in self._validation if told[name] is not None})
        total = self._job.request["iterations"]
        tasks_left = (total - told["iteration"]) * self._job.request["meta_batch_size"]
        rate = told["tasks_per_second"]
        eta = round(tasks_left / rate, 1) if rate else None
        progress = {**told, **self._validation, "iterations": total, "eta_seconds": eta}
        moment = time.monotonic()
        event = moment >= self._next_event or told["iteration"] == total
        try:
            self._store.report_progress(self._claim, progress, now=self._clock(), event=event)
        except (StoreUnavailable, StoreFull) as error:
            log.warning("progress could not be stored", job=self._job.job_id, reason=error.detail)
            return
        if event:
            self._next_event = moment + EVENT_SHARE * (moment - self._started)

    def _save(self) -> None:
        """Store the last checkpoint; while the store is away or full it is kept here and tried again."""
        assert self._unsaved is not None
        try:
            self._store.save_checkpoint(
                self._claim, self._unsaved.head["iteration"], self._unsaved.payload, now=self._clock()
            )
            self._unsaved = None
        except (StoreUnavailable, StoreFull) as error:
            log.warning("a checkpoint could not be stored", job=self._job.job_id, reason=error.detail)
            time.sleep(TICK_SECONDS)

    def _left(self, *, crashed: bool) -> Job:
        """Give the job back: cancelled where that was asked for, else to the queue."""
        return self._store.release_job(
            self._claim,
            now=self._clock(),
            crashed=crashed,
            max_crashes=self._options.max_crashes,
            crash_error=CRASHED,
        )

    def _failed(self, told: dict[str, Any]) -> Job:
        error = {"code": told["code"], "detail": told["detail"]}
        return self._store.end_job(self._claim, "failed", error, now=self._clock())

    def _finished(self, child: Child, card: Card, weights: bytes) -> Job:
        """Complete the job; again when another version is active now, and when the store is away or full."""
        while True:
            self._renew(time.monotonic())
            if self._cancelled:
                return self._left(crashed=False)
            try:
                return self._completed(child, card, weights)
            except (ActiveVersionChanged, ModelNotFound, VersionNotFound):  # the last two: deleted since it was found
                continue
            except (StoreUnavailable, StoreFull) as error:
                log.warning("the model could not be stored", job=self._job.job_id, reason=error.detail)
                time.sleep(TICK_SECONDS)
                self._tend(child)

    def _completed(self, child: Child, card: Card, weights: bytes) -> Job:
        """Store the version, active if it may be, and end the job, all in one; LeaseLost changes nothing."""
        active = self._active_version()
        promote, found = self._is_to_be_promoted(child, card, active)
        metrics = {**card.metrics, "promotion": found} if found else card.metrics
        files = ModelFiles(card.model_copy(update={"metrics": metrics}), weights)
        job, version = self._store.complete_job(
            self._claim,
            self._job.name,
            files.card.model_dump(mode="json"),
            files.packed(),
            promote=promote,
            expected_active=active.version if active else None,
            now=self._clock(),
        )
        log.info("job succeeded", job=job.job_id, model=self._job.name, version=version.version, active=promote)
        return job

    def _active_version(self) -> ModelVersion | None:
        try:
            return self._store.model_version(self._job.name)
        except ModelNotFound:
            return None

    def _is_to_be_promoted(
        self, child: Child, card: Card, active: ModelVersion | None
    ) -> tuple[bool, dict[str, Any] | None]:
        """Return whether the candidate becomes active, and what it was compared on, if it was."""
        rule = self._job.request["promote"]
        if rule != "if_better" or active is None:
            return rule != "never", None
        if not same_schema(card, Card.model_validate(active.card)):
            return False, {"against": active.version, "better": False, "reason": "another input or output schema"}
        weights = self._store.model_weights(active.name, active.version)
        child.send(Frame("compare", {"card": active.card}, weights))
        found = self._compared(child)
        return found["better"], {"against": active.version, **found}

    def _compared(self, child: Child) -> dict[str, Any]:
        deadline = time.monotonic() + COMPARE_SECONDS
        while time.monotonic() < deadline:
            self._tend(child)
            frame = child.next_frame(TICK_SECONDS)
            if frame is not None and frame.kind == "compared":
                return frame.head
        raise ChildDied(f"no comparison came within {COMPARE_SECONDS} seconds")
