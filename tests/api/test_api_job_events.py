"""Claims about GET /meta-train/{id}/events: server-sent events without a gap or a double."""

import signal
import threading
import time
from pathlib import Path
from typing import NamedTuple

import httpx
import pytest

from innerloop.wire import JobInfo, JobProgress
from tests.api.asking import problem_of
from tests.api.service import Service, start_service
from tests.api.tiny_jobs import cancel, running, start, train
from tests.serving.jobs import Event, check_events, event_of, events_of, job_of, wait_for


@pytest.fixture(scope="module")
def done(service: Service) -> JobInfo:
    return train(service.http)


@pytest.fixture(scope="module")
def recorded(service: Service, done: JobInfo) -> list[Event]:
    """All events of a job that succeeded."""
    return events_of(service.http, done.job_id)


class Interrupted(NamedTuple):
    """A job that was cancelled while it ran, and what two callers saw of it."""

    job: JobInfo
    dropping: list[Event]
    """Seen by one whose connection dropped ten times."""
    staying: list[Event]
    """Seen by one who followed all the time."""
    events: list[Event]


@pytest.fixture(scope="module")
def interrupted(service: Service) -> Interrupted:
    job = running(service.http)
    dropping: list[Event] = []
    staying: list[Event] = []
    thread = threading.Thread(target=lambda: staying.extend(next_events(service.url, job, 0, 1_000_000)))
    thread.start()
    for turn in range(10):
        dropping += next_events(service.url, job, len(dropping), 1 + turn % 3)
    assert job_of(service.http, job.job_id).status == "running"
    cancel(service.http, job)
    while more := next_events(service.url, job, len(dropping), 50):
        dropping += more
    thread.join(10)
    assert not thread.is_alive()
    return Interrupted(job, dropping, staying, events_of(service.http, job.job_id))


def next_events(url: str, job: JobInfo, after: int, enough: int) -> list[Event]:
    """Return up to `enough` events after one, over a connection of their own that is then dropped."""
    found, block = [], ""
    headers = {"Last-Event-ID": str(after)} if after else {}
    with httpx.stream("GET", f"{url}/meta-train/{job.job_id}/events", headers=headers, timeout=30.0) as answer:
        if answer.status_code == 204:
            return []
        for line in answer.iter_lines():
            if line.startswith(":"):
                continue
            if line:
                block += line + "\n"
            elif block:
                found.append(event_of(block))
                block = ""
            if len(found) == enough:
                break
    return found


def test_events_tell_the_whole_story_of_a_job(done: JobInfo, recorded: list[Event]) -> None:
    check_events(recorded)
    statuses = [event.data["status"] for event in recorded if event.kind == "status"]
    assert statuses[:2] == ["queued", "running"]
    progress = [event.data for event in recorded if event.kind == "progress"]
    assert all(JobProgress.model_validate(data).iterations == 20 for data in progress)
    iterations = [data["iteration"] for data in progress]
    assert iterations == sorted(set(iterations))
    assert (iterations[0], iterations[-1]) == (1, 20)
    assert recorded[-1].data == {"status": "succeeded", "model_version": 1, "error": None}
    assert {event.kind for event in recorded} == {"status", "progress", "end"}


def test_answer_is_an_event_stream_that_nobody_keeps(http: httpx.Client, done: JobInfo) -> None:
    answer = http.get(f"/meta-train/{done.job_id}/events")
    assert answer.headers["Content-Type"].startswith("text/event-stream")
    assert answer.headers["Cache-Control"] == "no-store"
    assert answer.headers["X-Request-ID"]


def test_events_are_replayed_after_any_of_them(http: httpx.Client, done: JobInfo, recorded: list[Event]) -> None:
    assert events_of(http, done.job_id, after=0) == recorded
    for event in recorded[:-1]:
        assert events_of(http, done.job_id, after=event.id) == recorded[event.id :]


@pytest.mark.parametrize("beyond", [0, 1, 2**31 - 1])
def test_nothing_more_to_come_is_204(http: httpx.Client, done: JobInfo, recorded: list[Event], beyond: int) -> None:
    last = max(len(recorded), beyond) if beyond > 1 else len(recorded) + beyond
    answer = http.get(f"/meta-train/{done.job_id}/events", headers={"Last-Event-ID": str(last)})
    assert (answer.status_code, answer.content) == (204, b"")


@pytest.mark.parametrize("value", ["x", "-1", "1.5", "1e3", "0x1", "1 2", "²", "9" * 11, "2147483648", "1,2", "null"])
def test_ids_of_no_event_are_refused(http: httpx.Client, done: JobInfo, value: str) -> None:
    headers = [(b"Last-Event-ID", value.encode())]
    answer = http.get(f"/meta-train/{done.job_id}/events", headers=headers)
    assert "Last-Event-ID" in problem_of(answer, 400, "bad-request").detail


def test_a_job_that_is_not_there_has_no_events_whatever_came_last(http: httpx.Client) -> None:
    answer = http.get("/meta-train/none/events", headers={"Last-Event-ID": "3"})
    problem_of(answer, 404, "job-not-found")


def test_a_connection_that_drops_ten_times_misses_and_doubles_nothing(interrupted: Interrupted) -> None:
    check_events(interrupted.dropping)
    assert interrupted.dropping == interrupted.events
    assert len(interrupted.events) > 10


def test_open_stream_tells_everything_and_ends_with_the_job(interrupted: Interrupted) -> None:
    assert interrupted.staying == interrupted.events
    assert interrupted.staying[-1].data["status"] == "cancelled"


def test_ids_go_on_when_a_job_is_resumed(service: Service, interrupted: Interrupted) -> None:
    job, before = interrupted.job, interrupted.events
    assert service.http.post(f"/meta-train/{job.job_id}/resume").status_code == 202
    # The end that was told is not the last word any more: there is more to come again.
    queued, claimed = next_events(service.url, job, len(before), 2)
    assert (queued.id, queued.data, claimed.data) == (len(before) + 1, {"status": "queued"}, {"status": "running"})
    waiting = start(service.http)
    (first,) = next_events(service.url, waiting, 0, 1)
    assert (first.kind, first.data) == ("status", {"status": "queued"})
    cancel(service.http, waiting, job)
    after = events_of(service.http, job.job_id)
    # The end that was not the last is told as what it was, a status: whoever stops at an end stops at the right one.
    assert after[: len(before)] == [*before[:-1], before[-1]._replace(kind="status")]
    assert [event.id for event in after] == list(range(1, len(after) + 1))
    assert [event.kind for event in after].count("end") == 1
    check_events([first, *next_events(service.url, waiting, 1, 100)])


def test_open_streams_do_not_hold_up_the_end_of_the_service(tmp_path: Path) -> None:
    service = start_service(tmp_path / "data", training_threads=1)
    job = running(service.http)
    ends: list[list[Event]] = []
    threads = [
        threading.Thread(target=lambda: ends.append(next_events(service.url, job, 0, 1_000_000))) for _ in range(20)
    ]
    for thread in threads:
        thread.start()
    wait_for(service.http, job.job_id, lambda now: now.progress.iteration > 500)
    assert service.http.get("/healthz").status_code == 200
    service.process.send_signal(signal.SIGTERM)
    asked = time.monotonic()
    assert service.process.wait(30) == 0
    assert time.monotonic() - asked < 15.0  # DRAIN_TIMEOUT_SECONDS is 30
    for thread in threads:
        thread.join(10)
    assert len(ends) == 20
    for events in ends:
        assert [event.id for event in events] == list(range(1, len(events) + 1))
        assert events
