"""Meta-training jobs of a running service, and the processes that work on them."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import httpx

from app.settings import REPOSITORY, Settings
from innerloop.wire import JobInfo
from tests.api.service import Service

HEARTBEAT_SECONDS = 1.0
FAST: dict[str, object] = {"heartbeat_seconds": HEARTBEAT_SECONDS, "training_threads": 1}

REQUEST: dict[str, Any] = {
    "name": "waves",
    "learner": {"kind": "maml", "steps": 1, "learning_rate": 0.01},
    "network": {"kind": "mlp", "hidden": [16]},
    "tasks": {"kind": "sinusoid", "shots": 5, "queries": 5},
    "iterations": 1500,
    "meta_batch_size": 4,
    "validate_every": 100,
    "seed": 3,
}
"""Some seconds of training with a checkpoint every few tenths of one."""

ENDED = ("succeeded", "failed", "cancelled")
WAIT_SECONDS = 120.0


def start_job(http: httpx.Client, **fields: Any) -> JobInfo:
    """Queue a job and return it."""
    answer = http.post("/meta-train", json={**REQUEST, **fields})
    assert answer.status_code == 202, answer.text
    job = JobInfo.model_validate_json(answer.content)
    assert answer.headers["Location"] == f"/meta-train/{job.job_id}"
    return job


def job_of(http: httpx.Client, job_id: str) -> JobInfo:
    """Return a job as it is now."""
    return JobInfo.model_validate_json(http.get(f"/meta-train/{job_id}").content)


def wait_for(http: httpx.Client, job_id: str, holds: Callable[[JobInfo], bool]) -> JobInfo:
    """Return the job as soon as something holds of it."""
    deadline = time.monotonic() + WAIT_SECONDS
    while time.monotonic() < deadline:
        job = job_of(http, job_id)
        if holds(job):
            return job
        assert job.status not in ENDED, f"{job.status}: {job.error}"
        time.sleep(0.02)
    raise AssertionError(f"still waiting: {job_of(http, job_id)}")


def end_of(http: httpx.Client, job_id: str) -> JobInfo:
    """Return the job when it has ended."""
    return wait_for(http, job_id, lambda job: job.status in ENDED)


def past(iteration: int) -> Callable[[JobInfo], bool]:
    """Return whether a job is beyond an iteration."""
    return lambda job: job.progress.iteration > iteration


def weights_sha256(http: httpx.Client, job: JobInfo) -> str:
    """Return the hash of the weights that a job made."""
    assert job.status == "succeeded", job.error
    versions = http.get(f"/models/{job.name}").json()["versions"]
    return str(next(version["sha256"] for version in versions if version["version"] == job.model_version))


class Event(NamedTuple):
    """One server-sent event."""

    id: int
    kind: str
    data: dict[str, Any]


def events_of(http: httpx.Client, job_id: str, after: int | None = None) -> list[Event]:
    """Return all events of a job that has ended."""
    headers = {} if after is None else {"Last-Event-ID": str(after)}
    answer = http.get(f"/meta-train/{job_id}/events", headers=headers)
    assert answer.status_code == 200, answer.text
    return [event_of(text) for text in answer.text.split("\n\n") if text.startswith("id:")]


def event_of(text: str) -> Event:
    """Return the event that a block of lines holds."""
    fields = dict(line.split(": ", 1) for line in text.splitlines())
    return Event(int(fields["id"]), fields["event"], json.loads(fields["data"]))


def check_events(events: list[Event]) -> None:
    """Hold the events of a job against what is promised: no gap, no double, an end at the end."""
    assert [event.id for event in events] == list(range(1, len(events) + 1))
    assert events[0].data == {"status": "queued"}
    assert events[-1].kind == "end"


class Worker(NamedTuple):
    """A `python -m app worker`."""

    process: "subprocess.Popen[bytes]"
    log: Path

    def logged(self, event: str) -> list[dict[str, Any]]:
        """Return its log lines of an event."""
        lines = [json.loads(line) for line in self.log.read_text().splitlines() if line.startswith("{")]
        return [line for line in lines if line["event"] == event]

    def end(self, sig: signal.Signals = signal.SIGKILL) -> None:
        """End it and wait until it is gone."""
        self.process.send_signal(sig)
        self.process.wait(30)


def start_worker(folder: Path, **settings: object) -> Worker:
    """Start a worker on the store of a service whose data is in `folder`, and wait until it works."""
    names = {name.upper() for name in Settings.model_fields}
    environment = {name: value for name, value in os.environ.items() if name not in names}
    chosen = {"data_dir": folder, "log_format": "json", **FAST, **settings}
    environment |= {name.upper(): str(value) for name, value in chosen.items()} | {"OMP_NUM_THREADS": "1"}
    log = folder / f"worker-{time.monotonic_ns()}.log"
    with log.open("wb") as output:
        command = [sys.executable, "-m", "app", "worker"]
        process = subprocess.Popen(command, cwd=REPOSITORY, env=environment, stdout=output, stderr=subprocess.STDOUT)
    worker = Worker(process, log)
    deadline = time.monotonic() + WAIT_SECONDS
    while not worker.logged("working on meta-training jobs"):
        assert process.poll() is None, log.read_text()
        assert time.monotonic() < deadline
        time.sleep(0.05)
    return worker


def child_of(logs: Service | Worker) -> int:
    """Return the process id of the newest training child."""
    deadline = time.monotonic() + WAIT_SECONDS
    while not (lines := logs.logged("training process started")):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    return int(str(lines[-1]["pid"]))


def runs(pid: int) -> bool:
    """Tell whether a process is there and no zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):  # the latter: it ended between opening and reading
        return False


def gone_within(pid: int, seconds: float) -> bool:
    """Tell whether a process ends within so many seconds."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if not runs(pid):
            return True
        time.sleep(0.02)
    return False
