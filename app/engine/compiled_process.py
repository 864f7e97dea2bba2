"""The compiling child as its parent sees it."""

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

COMMAND = (sys.executable, "-c", "from app.engine.compiled_child import main; main()")
ROOT = Path(__file__).resolve().parents[2]
"""Where the child finds `app`, whatever folder the service was started in."""
MOST_SECONDS = 600.0
"""After which a program is given up: a hundred steps of a deep network would take longer than it will ever save."""
POLL_SECONDS = 0.1

Compile = Callable[[bytes, Path, Callable[[], bool]], None]
"""(spec, library, gives_up) -> writes the library, into a folder that it may use; raises CannotCompile."""


class CannotCompile(Exception):
    """A program that there will not be, with the reason."""


def has_compiler() -> bool:
    """Tell whether there is a C++ compiler, found as the child will find it."""
    return shutil.which(os.environ.get("CXX", "g++")) is not None


def compile_in_child(spec: bytes, library: Path, gives_up: Callable[[], bool]) -> None:
    """Compile in a process of its own, at the lowest priority; killed once `gives_up` says so."""
    asked = json.dumps({"spec": spec.decode(), "library": str(library)}).encode()
    process = subprocess.Popen(
        COMMAND,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env={**os.environ, **_environment(library.parent)},
        cwd=library.parent,
        process_group=0,  # with the C++ compiler, so that both can be killed
    )
    assert process.stdin is not None
    try:
        with contextlib.suppress(BrokenPipeError):
            process.stdin.write(asked + b"\n")
            process.stdin.flush()
        _wait(process, gives_up)
    finally:
        reason = _end(process)
    if reason or not library.exists():
        raise CannotCompile(reason or "the compiling process wrote nothing")


def _environment(work: Path) -> dict[str, str]:
    """Return what keeps the child to one thread and its files to its workspace."""
    # What the compiler found out about the processor, some small libraries, is kept: it takes half of a short compile.
    places = {"TORCHINDUCTOR_CACHE_DIR": str(work.parent / "processor"), "TMPDIR": str(work)}
    found = os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH"))))
    return {**places, "PYTHONPATH": found, "OMP_NUM_THREADS": "1", "TORCHINDUCTOR_COMPILE_THREADS": "1"}


def _wait(process: subprocess.Popen[bytes], gives_up: Callable[[], bool]) -> None:
    """Wait for the child's end without taking it: until then its number, by which it is killed, is nobody else's."""
    until = time.monotonic() + MOST_SECONDS
    while os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT | os.WNOHANG) is None:
        if gives_up():
            raise CannotCompile("the service is shutting down")
        if time.monotonic() > until:
            raise CannotCompile(f"it takes longer than {MOST_SECONDS:g} s")
        time.sleep(POLL_SECONDS)


def _end(process: subprocess.Popen[bytes]) -> str:
    """Leave nothing of the child running, whether it is done or not, and return what it said."""
    assert process.stdin is not None
    assert process.stdout is not None
    os.killpg(process.pid, signal.SIGKILL)
    status = process.wait()
    reason = process.stdout.read().decode(errors="replace")
    for stream in (process.stdin, process.stdout):
        with contextlib.suppress(BrokenPipeError):
            stream.close()
    return reason or (f"the compiling process ended with status {status}" if status else "")
