"""An attempt whose store is full, and whose rival vanishes, at the worst moment."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from app.jobs.options import WorkerOptions
from app.jobs.worker import JobWorker
from app.store import Job, NewJob, Store, open_store
from innerloop.errors import StoreFull, VersionNotFound
from innerloop.wire import JobProgress, Limits
from tests.jobs.test_child import REQUEST

OPTIONS = WorkerOptions(heartbeat_seconds=1.0, device="cpu", limits=Limits(), max_crashes=0)
LEFT = {**REQUEST, "promote": "if_better", "seed": 0}


def now() -> datetime:
    return datetime.now(UTC)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    opened = open_store(f"sqlite:///{tmp_path}/innerloop.db")
    yield opened
    opened.close()


def failing_once(monkeypatch: pytest.MonkeyPatch, store: Store, name: str, error: Exception) -> list[str]:
    """Let the next call of an operation raise; return the list that then has its name."""
    failed: list[str] = []
    operation: Callable[..., Any] = getattr(store, name)

    def once(*args: Any, **named: Any) -> Any:
        if not failed:
            failed.append(name)
            raise error
        return operation(*args, **named)

    monkeypatch.setattr(store, name, once)
    return failed


def worked_on(store: Store, job_id: str, options: WorkerOptions = OPTIONS) -> Job:
    """Return a job of which a worker has made one attempt."""
    progress = {**dict.fromkeys(JobProgress.model_fields), "iteration": 0, "iterations": LEFT["iterations"]}
    new = NewJob(job_id, "default", LEFT["name"], LEFT, {"threads": 1}, progress, None)
    store.add_job(new, now=now(), max_queued=9)
    assert JobWorker(store, options)._work_once()
    return store.job("default", job_id)


@pytest.mark.parametrize("operation", ["renew_lease", "report_progress", "save_checkpoint", "complete_job"])
def test_store_that_is_full_for_a_moment_costs_no_attempt(
    operation: str, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    failed = failing_once(monkeypatch, store, operation, StoreFull("no room"))
    job = worked_on(store, "job-1")
    assert failed == [operation]
    assert (job.status, job.attempt, job.crashes) == ("succeeded", 1, 0)


def test_active_version_that_vanishes_before_it_is_compared_with_costs_no_attempt(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert worked_on(store, "job-1").model_version == 1
    failed = failing_once(monkeypatch, store, "model_weights", VersionNotFound("deleted"))
    job = worked_on(store, "job-2")
    assert failed == ["model_weights"]
    assert (job.status, job.attempt, job.model_version) == ("succeeded", 1, 2)


def test_child_that_says_nothing_for_too_long_is_taken_for_hung(store: Store) -> None:
    # It cannot even have started after a hundredth of a second.
    job = worked_on(store, "job-1", replace(OPTIONS, silence_seconds=0.01))
    assert (job.status, job.error and job.error["code"]) == ("failed", "job-crashed")


def test_cancel_that_comes_when_the_training_is_over_is_heeded(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    failed = failing_once(monkeypatch, store, "complete_job", StoreFull("no room"))
    complete: Callable[..., Any] = store.complete_job

    def cancelled_meanwhile(*args: Any, **named: Any) -> Any:
        if not failed:
            store.request_cancel("default", "job-1", now=now())
        return complete(*args, **named)

    monkeypatch.setattr(store, "complete_job", cancelled_meanwhile)
    job = worked_on(store, "job-1")
    assert (job.status, job.model_version) == ("cancelled", None)
