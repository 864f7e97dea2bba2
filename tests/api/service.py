"""The service in a process of its own, as users start it: `python -m app serve`."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import NamedTuple

import httpx

from app.settings import REPOSITORY, Settings

START_TIMEOUT_SECONDS = 120.0
STOP_TIMEOUT_SECONDS = 30.0


class Service(NamedTuple):
    """A running service and a client of it."""

    url: str
    process: "subprocess.Popen[bytes]"
    log: Path
    http: httpx.Client

    def kill(self) -> None:
        """End it as a crash would."""
        self.http.close()
        self.process.send_signal(signal.SIGKILL)
        self.process.wait(STOP_TIMEOUT_SECONDS)

    def stop(self) -> int:
        """End it as an operator would; returns its exit status."""
        self.http.close()
        self.process.terminate()
        return self.process.wait(STOP_TIMEOUT_SECONDS)

    def logged(self, event: str) -> list[dict[str, object]]:
        """Return the log lines of an event."""
        lines = [json.loads(line) for line in self.log.read_text().splitlines() if line.startswith("{")]
        return [line for line in lines if line["event"] == event]


def start_service(folder: Path, **settings: object) -> Service:
    """Start the service with its data in `folder` and nothing of this environment's settings; wait until it serves."""
    names = {name.upper() for name in Settings.model_fields}
    environment = {name: value for name, value in os.environ.items() if name not in names}
    chosen = {
        "models_dir": REPOSITORY / "models",
        "port": 0,
        "data_dir": folder,
        "log_format": "json",
        "compile_serving": "never",  # it would compile what tests ask for, and take the time from them
        **settings,
    }
    environment |= {name.upper(): str(value) for name, value in chosen.items()}
    environment["OMP_NUM_THREADS"] = "1"  # other things run on this machine too
    folder.mkdir(exist_ok=True)
    log = folder / f"{time.monotonic_ns()}.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "app", "serve"],
            cwd=REPOSITORY,
            env=environment,
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    url = _url_in(log, process)
    # A connection a request: what breaks one request must not fail the next test.
    alone = httpx.Limits(max_keepalive_connections=0)
    return Service(url, process, log, httpx.Client(base_url=url, timeout=60.0, limits=alone))


def _url_in(log: Path, process: "subprocess.Popen[bytes]") -> str:
    deadline = time.monotonic() + START_TIMEOUT_SECONDS
    while time.monotonic() < deadline and process.poll() is None:
        for line in log.read_text().splitlines():
            if line.startswith("{") and '"serving"' in line:
                return str(json.loads(line)["url"])
        time.sleep(0.05)
    process.kill()
    process.wait(STOP_TIMEOUT_SECONDS)
    raise AssertionError(f"the service does not serve:\n{log.read_text()}")
