"""The wall clock jumps while a job runs and another worker stands by: one model comes of it, and every event once."""

import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta

import pytest

from app.jobs.options import WorkerOptions
from app.jobs.worker import JobWorker
from app.store import Job, NewJob, Store, open_store
from innerloop.wire import JobProgress, Limits
from tests.jobs.test_child import REQUEST

HOUR = timedelta(hours=1)
OPTIONS = WorkerOptions(heartbeat_seconds=1.0, device="cpu", limits=Limits(), max_crashes=100)
LONG = {**REQUEST, "iterations": 500, "validate_every": 50, "promote": "always", "seed": 0}
WAIT_SECONDS = 120.0


class Clock:
    """A wall clock that a test moves."""

    def __init__(self) -> None:
        self.ahead = timedelta()

    def __call__(self) -> datetime:
        return datetime.now(UTC) + self.ahead


@pytest.fixture
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    opened = open_store(f"sqlite:///{tmp_path_factory.mktemp('clock')}/innerloop.db")
    yield opened
    opened.close()


def until(store: Store, holds: Callable[[Job], bool]) -> Job:
    """Return the job as soon as something holds of it."""
    deadline = time.monotonic() + WAIT_SECONDS
    while time.monotonic() < deadline:
        job = store.job("default", "job")
        if holds(job):
            return job
        time.sleep(0.02)
    raise AssertionError(f"still waiting: {store.job('default', 'job')}")


@pytest.mark.parametrize(("jump", "attempts"), [(-HOUR, {1}), (HOUR, {1, 2})], ids=["back", "forward"])
def test_a_job_is_not_done_twice_when_the_clock_jumps(store: Store, jump: timedelta, attempts: set[int]) -> None:
    clock = Clock()
    progress = {**dict.fromkeys(JobProgress.model_fields), "iteration": 0, "iterations": LONG["iterations"]}
    store.add_job(
        NewJob("job", "default", LONG["name"], LONG, {"threads": 1}, progress, None), now=clock(), max_queued=9
    )
    workers = [JobWorker(store, OPTIONS, clock) for _ in range(2)]
    threads = [threading.Thread(target=worker.run) for worker in workers]
    for thread in threads:
        thread.start()
    try:
        until(store, lambda job: job.progress["iteration"] > 0)
        clock.ahead = jump
        ended = until(store, lambda job: job.status not in ("queued", "running"))
    finally:
        for worker in workers:
            worker.stop()
        for thread in threads:
            thread.join(60)
    assert ended.status == "succeeded", ended.error
    assert ended.attempt in attempts
    assert len(store.model(LONG["name"]).versions) == 1
    events = store.job_events("default", "job", limit=500)
    assert [event.event_id for event in events] == list(range(1, len(events) + 1))
    assert [event.kind for event in events].count("end") == 1


def test_a_worker_that_died_just_before_the_clock_went_back_has_its_job_taken_over(store: Store) -> None:
    clock = Clock()
    progress = {**dict.fromkeys(JobProgress.model_fields), "iteration": 0, "iterations": LONG["iterations"]}
    new = NewJob("job", "default", LONG["name"], {**LONG, "iterations": 20}, {"threads": 1}, progress, None)
    store.add_job(new, now=clock(), max_queued=9)
    claimed = store.claim_job(
        "dead", now=clock(), lease_seconds=OPTIONS.lease_seconds, max_crashes=100, crash_error={"code": "job-crashed"}
    )
    assert claimed is not None
    clock.ahead = -HOUR
    worker = JobWorker(store, OPTIONS, clock)
    worker.start()
    try:
        assert until(store, lambda job: job.attempt == 2 or job.status == "succeeded").worker == worker.name
    finally:
        worker.close()
