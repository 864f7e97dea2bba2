"""The service in a process of its own, for benchmarks."""

import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager

import httpx

from benchmarks.results import ROOT

GIVE_UP_SECONDS = 60.0


@contextmanager
def served(**settings: object) -> Iterator[str]:
    """Serve on a fresh data folder and give the URL; `settings` by their names in lower case."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with tempfile.TemporaryDirectory() as folder:
        chosen = {"PORT": port, "DATA_DIR": folder, "LOG_LEVEL": "ERROR"}
        chosen |= {name.upper(): value for name, value in settings.items()}
        environment = {**os.environ, **{name: str(value) for name, value in chosen.items()}}
        process = subprocess.Popen([sys.executable, "-m", "app", "serve"], cwd=ROOT, env=environment)
        url = f"http://127.0.0.1:{port}"
        try:
            _wait(url)
            yield url
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(GIVE_UP_SECONDS)


def _wait(url: str) -> None:
    deadline = time.monotonic() + GIVE_UP_SECONDS
    while time.monotonic() < deadline:
        try:
            if httpx.get(f"{url}/readyz").status_code == 200:
                return
        except httpx.TransportError:
            time.sleep(0.05)
    raise TimeoutError(f"not ready within {GIVE_UP_SECONDS} s")
