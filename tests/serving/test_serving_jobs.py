"""A job, whatever happens to the processes around it, ends with the weights of one that nothing happened to."""

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.api.service import Service, start_service
from tests.serving.jobs import (
    FAST,
    HEARTBEAT_SECONDS,
    check_events,
    child_of,
    end_of,
    events_of,
    gone_within,
    job_of,
    past,
    start_job,
    start_worker,
    wait_for,
    weights_sha256,
)

STOP_SECONDS = 2.0


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The hash of the weights of a job that nothing happens to."""
    service = start_service(tmp_path_factory.mktemp("undisturbed"), **FAST)
    try:
        job = end_of(service.http, start_job(service.http).job_id)
        check_events(events_of(service.http, job.job_id))
        return weights_sha256(service.http, job)
    finally:
        service.stop()


@pytest.fixture
def service(tmp_path: Path) -> Iterator[Service]:
    running = start_service(tmp_path / "data", **FAST)
    yield running
    running.stop()


def test_job_goes_on_when_its_child_is_killed_again_and_again(service: Service, undisturbed: str) -> None:
    job = start_job(service.http)
    for iteration in (0, 250):
        wait_for(service.http, job.job_id, past(iteration))
        os.kill(child_of(service), signal.SIGKILL)
        wait_for(service.http, job.job_id, lambda now: now.status == "queued" or not gone_within(child_of(service), 0))
    ended = end_of(service.http, job.job_id)
    assert weights_sha256(service.http, ended) == undisturbed
    check_events(events_of(service.http, job.job_id))
    assert len(service.logged("training process started")) >= 3


def test_job_goes_on_when_the_service_is_killed(
    tmp_path: Path, database_settings: dict[str, str], undisturbed: str
) -> None:
    folder = tmp_path / "data"
    service = start_service(folder, **FAST, **database_settings)
    job = start_job(service.http)
    for iteration in (100, 500):
        wait_for(service.http, job.job_id, past(iteration))
        child = child_of(service)
        service.kill()
        assert gone_within(child, STOP_SECONDS), "an orphan goes on training"
        service = start_service(folder, **FAST, **database_settings)
    try:
        ended = end_of(service.http, job.job_id)
        assert weights_sha256(service.http, ended) == undisturbed
        check_events(events_of(service.http, job.job_id))
    finally:
        service.stop()


def test_another_worker_takes_the_job_of_a_dead_one_within_three_heartbeats(
    tmp_path: Path, database_settings: dict[str, str], undisturbed: str
) -> None:
    folder = tmp_path / "data"
    service = start_service(folder, job_worker=0, **FAST, **database_settings)
    first, second = (start_worker(folder, **database_settings) for _ in range(2))
    try:
        job = start_job(service.http)
        wait_for(service.http, job.job_id, past(300))
        dead, standby = (first, second) if first.logged("job claimed") else (second, first)
        child = child_of(dead)
        dead.end()
        died = time.monotonic()
        while not standby.logged("job claimed"):
            assert time.monotonic() - died < 3 * HEARTBEAT_SECONDS
            time.sleep(0.01)
        assert gone_within(child, STOP_SECONDS)
        assert weights_sha256(service.http, end_of(service.http, job.job_id)) == undisturbed
        check_events(events_of(service.http, job.job_id))
    finally:
        service.stop()
        for worker in (first, second):
            worker.end(signal.SIGTERM)


def test_late_writes_of_a_worker_that_lost_its_lease_change_nothing(tmp_path: Path, undisturbed: str) -> None:
    folder = tmp_path / "data"
    service = start_service(folder, job_worker=0, **FAST)
    sleeper = start_worker(folder)
    try:
        job = start_job(service.http)
        wait_for(service.http, job.job_id, past(300))
        sleeper.process.send_signal(signal.SIGSTOP)
        other = start_worker(folder)
        wait_for(service.http, job.job_id, past(700))
        sleeper.process.send_signal(signal.SIGCONT)
        ended = end_of(service.http, job.job_id)
        assert weights_sha256(service.http, ended) == undisturbed
        check_events(events_of(service.http, job.job_id))
        assert sleeper.logged("another worker has the job now")
        assert len(service.http.get("/models/waves").json()["versions"]) == 1
        other.end(signal.SIGTERM)
    finally:
        sleeper.process.send_signal(signal.SIGCONT)
        sleeper.end(signal.SIGTERM)
        service.stop()


def test_cancelled_job_stops_at_once_and_goes_on_when_it_is_resumed(service: Service, undisturbed: str) -> None:
    job = start_job(service.http)
    wait_for(service.http, job.job_id, past(150))
    child = child_of(service)
    assert service.http.post(f"/meta-train/{job.job_id}/cancel").status_code == 202
    cancelled = end_of(service.http, job.job_id)
    assert cancelled.status == "cancelled"
    assert gone_within(child, STOP_SECONDS), "its memory is not given back"
    check_events(events_of(service.http, job.job_id))
    assert service.http.get(f"/meta-train/{job.job_id}/checkpoint").status_code == 200

    assert service.http.post(f"/meta-train/{job.job_id}/resume").status_code == 202
    wait_for(service.http, job.job_id, past(cancelled.progress.iteration))
    ended = end_of(service.http, job.job_id)
    assert weights_sha256(service.http, ended) == undisturbed
    check_events(events_of(service.http, job.job_id))


def test_drained_service_leaves_a_checkpoint_from_which_the_job_goes_on(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    service = start_service(folder, **FAST)
    # No validation before the end: only what is written when it stops can be gone on from.
    job = start_job(service.http, validate_every=1500)
    wait_for(service.http, job.job_id, past(200))
    reached = job_of(service.http, job.job_id).progress.iteration
    assert service.stop() == 0
    again = start_service(folder, **FAST)
    try:
        resumed = wait_for(again.http, job.job_id, lambda now: now.status == "running")
        assert resumed.progress.iteration >= reached
        assert end_of(again.http, job.job_id).status == "succeeded"
        check_events(events_of(again.http, job.job_id))
    finally:
        again.stop()
