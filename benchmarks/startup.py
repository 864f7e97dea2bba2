"""Seconds from `make serve`, with its dependencies in place, to the first answered /adapt; the median of five."""

import os
import signal
import socket
import statistics
import subprocess
import tempfile
import time

import httpx

from benchmarks.results import ROOT, Figure, show

COMMAND = "python -m benchmarks.startup"
RUNS, TARGET_SECONDS, GIVE_UP_SECONDS = 5, 8.0, 60.0
BODY = {"support": {"inputs": [[-1.2], [0.4]], "targets": [0.31, -0.8]}}


def main() -> list[Figure]:
    """Start it several times on fresh data folders."""
    seconds = [first_answer_seconds() for _ in range(RUNS)]
    median = statistics.median(seconds)
    reached = f"{median:.1f} s (from {min(seconds):.1f} to {max(seconds):.1f} in {RUNS} runs)"
    what = "`make serve` to the first answered /adapt, dependencies in place"
    return show([Figure(what, reached, f"≤ {TARGET_SECONDS:g} s", median <= TARGET_SECONDS, COMMAND)])


def first_answer_seconds() -> float:
    """Start the service, ask until it answers, stop it."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with tempfile.TemporaryDirectory() as folder:
        environment = {**os.environ, "PORT": str(port), "DATA_DIR": folder, "LOG_LEVEL": "ERROR"}
        start = time.monotonic()
        # A session of its own, so that make and the service below it can be ended together.
        service = subprocess.Popen(["make", "-s", "serve"], cwd=ROOT, env=environment, start_new_session=True)
        try:
            return _ask(f"http://127.0.0.1:{port}/adapt", start)
        finally:
            os.killpg(service.pid, signal.SIGTERM)
            service.wait(timeout=GIVE_UP_SECONDS)


def _ask(url: str, start: float) -> float:
    while time.monotonic() - start < GIVE_UP_SECONDS:
        try:
            if httpx.post(url, json=BODY, timeout=GIVE_UP_SECONDS).status_code == 201:
                return time.monotonic() - start
        except httpx.TransportError:
            time.sleep(0.02)
    raise TimeoutError(f"no answer within {GIVE_UP_SECONDS} s")


if __name__ == "__main__":
    main()
