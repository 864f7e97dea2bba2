"""The service, or a peer of it, in a process of its own, for benchmarks."""

import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import httpx

from benchmarks.results import ROOT

GIVE_UP_SECONDS = 60.0
COMPILED_WITHIN_SECONDS, QUIET_SECONDS = 240.0, 3.0
COMPILED = ROOT / "runs" / "compiled"
"""What services of benchmarks compile, and find compiled when they start again."""


class Server(NamedTuple):
    """A process that serves on this machine."""

    name: str
    port: int
    pid: int

    @property
    def url(self) -> str:
        """Where it answers."""
        return f"http://127.0.0.1:{self.port}"

    def cpu_seconds(self) -> float:
        """Return what its threads have computed so far; NaN where the system does not tell."""
        try:
            threads = list(Path(f"/proc/{self.pid}/task").iterdir())
            return sum(thread_cpu_seconds(thread) for thread in threads)
        except OSError:
            return float("nan")


def thread_cpu_seconds(folder: Path) -> float:
    """Return what a thread has computed, by its folder under /proc."""
    return int((folder / "schedstat").read_text().split()[0]) / 1e9


@contextmanager
def served(**settings: object) -> Iterator[str]:
    """Serve on a fresh data folder and give the URL; `settings` by their names in lower case."""
    with service(settings) as server:
        yield server.url


@contextmanager
def service(settings: Mapping[str, object] | None = None, module: str = "app") -> Iterator[Server]:
    """Serve on a fresh data folder; `module` is what is started with the argument "serve"."""
    with tempfile.TemporaryDirectory() as folder:
        COMPILED.mkdir(mode=0o700, parents=True, exist_ok=True)
        (Path(folder) / "compiled").symlink_to(COMPILED)
        chosen = {"DATA_DIR": folder, "LOG_LEVEL": "ERROR"}
        chosen |= {name.upper(): str(value) for name, value in (settings or {}).items()}
        with _running("innerloop", [module, "serve"], chosen, "/readyz") as server:
            yield server


def wait_until_compiled() -> None:
    """Return when no service compiles any more, or after some minutes."""
    deadline, quiet_since = time.monotonic() + COMPILED_WITHIN_SECONDS, time.monotonic()
    while time.monotonic() < deadline and time.monotonic() - quiet_since < QUIET_SECONDS:
        time.sleep(0.2)
        if any((COMPILED / "serving").glob("work-*")):
            quiet_since = time.monotonic()


@contextmanager
def peer(name: str) -> Iterator[Server]:
    """Serve a peer by its name."""
    with _running(name, ["benchmarks.peers_http", name, "{port}"], {"OMP_NUM_THREADS": "1"}, "/openapi.json") as server:
        yield server


@contextmanager
def _running(name: str, module: Sequence[str], environment: Mapping[str, str], ready: str) -> Iterator[Server]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    arguments = [argument.replace("{port}", str(port)) for argument in module]
    process = subprocess.Popen(
        [sys.executable, "-m", *arguments], cwd=ROOT, env={**os.environ, "PORT": str(port), **environment}
    )
    server = Server(name, port, process.pid)
    try:
        _wait(process, server.url + ready)
        yield server
    finally:
        _stop(process)


def _wait(process: "subprocess.Popen[bytes]", url: str) -> None:
    deadline = time.monotonic() + GIVE_UP_SECONDS
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise RuntimeError(f"{process.args!r} ended with status {process.returncode}")
        try:
            if httpx.get(url, timeout=GIVE_UP_SECONDS).status_code == 200:
                return
        except httpx.TransportError:
            time.sleep(0.05)
    raise TimeoutError(f"not ready within {GIVE_UP_SECONDS} s")


def _stop(process: "subprocess.Popen[bytes]") -> None:
    process.send_signal(signal.SIGTERM)
    try:
        process.wait(GIVE_UP_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
