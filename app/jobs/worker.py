"""A worker: takes jobs from the queue in the store, one at a time, and sees each through in a training child."""

import os
import secrets
import socket
import threading
from collections.abc import Callable
from datetime import UTC, datetime

import structlog

from app.jobs.attempt import Attempt
from app.jobs.job_errors import CRASHED
from app.jobs.options import WorkerOptions
from app.store import LeaseLost, Store
from innerloop.errors import InnerloopError

log = structlog.get_logger()


class JobWorker:
    """Runs in a thread of its own (`start`, `close`), or in the caller's (`run`)."""

    def __init__(
        self, store: Store, options: WorkerOptions, clock: Callable[[], datetime] = lambda: datetime.now(UTC)
    ) -> None:
        self.name = f"{socket.gethostname()}-{os.getpid()}-{secrets.token_hex(3)}"
        self._store, self._options, self._clock = store, options, clock
        self._stopping, self._wake = threading.Event(), threading.Event()
        self._thread: threading.Thread | None = None

    @property
    def alive(self) -> bool:
        """Whether the thread that `start` started still runs."""
        return self._thread is not None and self._thread.is_alive()

    def start(self) -> None:
        """Begin to work in a thread."""
        self._thread = threading.Thread(target=self.run, name="job-worker", daemon=True)
        self._thread.start()

    def wake(self) -> None:
        """Look at the queue, and at whether the job at hand was cancelled, now and not at the next poll."""
        self._wake.set()

    def stop(self) -> None:
        """Take no more jobs; the one at hand writes a checkpoint and goes back to the queue."""
        self._stopping.set()
        self._wake.set()

    def close(self) -> None:
        """Stop and wait until that is done."""
        self.stop()
        if self._thread is not None:
            self._thread.join()

    def run(self) -> None:
        """Work until `stop`; whatever goes wrong is logged, and the worker goes on."""
        while not self._stopping.is_set():
            self._wake.clear()
            try:
                worked = self._work_once()
            except LeaseLost as error:
                log.warning("another worker has the job now", reason=str(error))
                worked = True
            except InnerloopError as error:  # the store is away or full
                log.warning("the job queue cannot be worked on", reason=error.detail)
                worked = False
            except Exception as error:
                log.error("unforeseen error of the job worker", exc_info=error)
                worked = False
            if not worked:
                self._wake.wait(self._options.poll_seconds)

    def _work_once(self) -> bool:
        """Work on the next job, and tell whether there was one."""
        claimed = self._store.claim_job(
            self.name,
            now=self._clock(),
            lease_seconds=self._options.lease_seconds,
            max_crashes=self._options.max_crashes,
            crash_error=CRASHED,
        )
        if claimed is None:
            return False
        job, claim = claimed
        log.info("job claimed", job=job.job_id, model=job.name, attempt=claim.attempt, worker=self.name)
        ended = Attempt(self._store, self._options, self._clock, job, claim, self._stopping, self._wake).run()
        log.info("job left", job=job.job_id, status=ended.status)
        return True
