"""SIGTERM under load: whatever was accepted is answered and stored, jobs are left where they can go on from."""

import signal
import threading
import time
from itertools import count
from pathlib import Path

import httpx

from tests.api.asking import sine
from tests.api.service import Service, start_service
from tests.serving.jobs import FAST, check_events, end_of, events_of, past, start_job, wait_for

CALLERS, ENOUGH = 8, 60
GRACE_SECONDS = 30
"""DRAIN_TIMEOUT_SECONDS as it is by default, and what a service may take to end."""


class Caller:
    """Adapts tasks of its own until the service is gone; every second one keeps its connection open."""

    def __init__(self, number: int) -> None:
        self.answered: list[str] = []
        self.unanswered: list[str] = []
        self.refused: list[str] = []
        self._number = number

    def run(self, service: Service) -> None:
        """Ask until nobody listens any more."""
        limits = httpx.Limits(max_keepalive_connections=self._number % 2)
        with httpx.Client(base_url=service.url, timeout=60.0, limits=limits) as http:
            for turn in count():
                task_id = f"task-{self._number}-{turn}"
                try:
                    answer = http.post("/adapt", json={"task_id": task_id, "support": sine(4 + turn % 3)})
                except httpx.ConnectError:
                    return
                except httpx.TransportError:  # the connection was closed before it was read, or was it?
                    self.unanswered.append(task_id)
                    return
                if answer.status_code == 201:
                    self.answered.append(task_id)
                else:
                    self.refused.append(answer.text)


def test_sigterm_under_load_loses_nothing_that_was_accepted(tmp_path: Path, database_settings: dict[str, str]) -> None:
    folder = tmp_path / "data"
    service = start_service(folder, **FAST, **database_settings)
    # No checkpoint but the one that is written when it stops.
    job = start_job(service.http, iterations=100_000, validate_every=100_000)
    reached = wait_for(service.http, job.job_id, past(50)).progress.iteration
    callers = [Caller(number) for number in range(CALLERS)]
    threads = [threading.Thread(target=caller.run, args=(service,)) for caller in callers]
    for thread in threads:
        thread.start()
    deadline = time.monotonic() + 60
    while sum(len(caller.answered) for caller in callers) < ENOUGH:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    service.process.send_signal(signal.SIGTERM)
    asked = time.monotonic()
    assert service.process.wait(2 * GRACE_SECONDS) == 0
    assert time.monotonic() - asked < GRACE_SECONDS
    for thread in threads:
        thread.join(60)
    assert not any(thread.is_alive() for thread in threads)
    served = [line for line in service.logged("request") if line["path"] == "/adapt"]
    answered = sorted(task_id for caller in callers for task_id in caller.answered)
    assert [line["status"] for line in served] == [201] * len(answered)
    assert [refusal for caller in callers for refusal in caller.refused] == []

    again = start_service(folder, **FAST, **database_settings)
    try:
        stored: list[str] = []
        after: dict[str, str] = {}
        while True:
            page = again.http.get("/tasks", params={"limit": "500", **after}).json()
            stored += [task["task_id"] for task in page["data"]]
            if not page["has_more"]:
                break
            after = {"after": page["next"]}
        assert sorted(stored) == answered  # and nothing of the calls that had no answer
        resumed = wait_for(again.http, job.job_id, lambda now: now.status == "running")
        assert resumed.progress.iteration >= reached
        wait_for(again.http, job.job_id, past(resumed.progress.iteration))
        assert again.http.post(f"/meta-train/{job.job_id}/cancel").status_code == 202
        assert end_of(again.http, job.job_id).status == "cancelled"
        check_events(events_of(again.http, job.job_id))
    finally:
        assert again.stop() == 0
