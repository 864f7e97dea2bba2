"""The processes of a run: the service, a worker of jobs beside it, and their training children."""

import json
import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Literal, NamedTuple

import httpx

from app.settings import REPOSITORY, Settings
from tests.serving.jobs import gone_within

START_SECONDS = 120.0
STOP_SECONDS = 40.0
CHILD_END_SECONDS = 60.0
"""A training child ends when its pipe closes, one that is just starting when it is through with its imports."""
READY = {"serve": '"serving"', "worker": '"working on meta-training jobs"'}


class Process(NamedTuple):
    """A process of the service."""

    pid: int
    log: Path
    url: str
    """Empty of a worker."""

    def kill(self) -> list[int]:
        """End it as a crash would; return its children, which live on their own now."""
        children = children_of(self.pid)
        os.kill(self.pid, signal.SIGKILL)
        assert gone_within(self.pid, STOP_SECONDS), "killed and still there"
        return children

    def stop(self) -> bool:
        """End it as an operator would, and tell whether it ended in time."""
        with suppress(ProcessLookupError):
            os.kill(self.pid, signal.SIGTERM)
        return gone_within(self.pid, STOP_SECONDS)


class Starter:
    """Starts processes of the service with their data in one folder."""

    def __init__(self, folder: Path, settings: dict[str, object]) -> None:
        self._folder = folder
        names = {name.upper() for name in Settings.model_fields}
        environment = {name: value for name, value in os.environ.items() if name not in names}
        chosen = {
            "models_dir": REPOSITORY / "models",
            "data_dir": folder,
            "port": 0,
            "device": "cpu",
            "log_format": "json",
            "compile_serving": "never",
            **settings,
        }
        environment |= {name.upper(): str(value) for name, value in chosen.items()}
        self._environment = environment | {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.soak.crash_starter"],
            cwd=REPOSITORY,
            env=self._environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def start(self, command: Literal["serve", "worker"], **settings: object) -> Process:
        """Start a process and wait until it is ready; AssertionError, with its log, when it never is."""
        log = self._folder / f"{command}-{time.monotonic_ns()}.log"
        environment = self._environment | {name.upper(): str(value) for name, value in settings.items()}
        order = {"command": command, "environment": environment, "log": str(log)}
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(order) + "\n")
        self._process.stdin.flush()
        pid = int(self._process.stdout.readline())
        return Process(pid, log, _ready(command, log))

    def close(self) -> None:
        """End the starter; what it started stays."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.wait(STOP_SECONDS)
        self._process.stdout.close()


def _ready(command: str, log: Path) -> str:
    """Wait for the line that says so; return the URL in it."""
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        for line in log.read_text().splitlines() if log.exists() else []:
            if line.startswith("{") and READY[command] in line:
                return str(json.loads(line).get("url", ""))
        time.sleep(0.02)
    raise AssertionError(f"{command} does not start:\n{log.read_text()}")


def children_of(pid: int) -> list[int]:
    """Return the processes that a process started."""
    found = []
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            try:
                stat = (folder / "stat").read_text()
            except OSError:  # it has just ended
                continue
            if int(stat.rpartition(")")[2].split()[1]) == pid:
                found.append(int(folder.name))
    return found


def orphans_left(children: list[int]) -> list[str]:
    """Return a finding for each child of a dead process that goes on."""
    return [f"process {child} outlives its parent" for child in children if not gone_within(child, CHILD_END_SECONDS)]


def client_of(service: Process) -> httpx.Client:
    """Return a client of a service."""
    return httpx.Client(base_url=service.url, timeout=60.0)
