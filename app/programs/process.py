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

from app.programs.child import CompileTo

ROOT = Path(__file__).resolve().parents[2]
"""Where the child finds `app`, whatever folder its parent was started in."""
POLL_SECONDS = 0.1

GivesUp = Callable[[], bool]
"""Whether what was asked for is wanted no more."""
Compile = Callable[[bytes, Path, GivesUp], None]
"""(spec, library, gives_up) -> writes the library, into a folder that it may use; raises CannotCompile."""


class CannotCompile(Exception):
    """A program that there will not be, with the reason."""


def has_compiler() -> bool:
    """Tell whether there is a C++ compiler, found as the child will find it."""
    return shutil.which(os.environ.get("CXX", "clang++" if sys.platform == "darwin" else "g++")) is not None


def compile_in_child(
    compile_to: CompileTo, spec: bytes, library: Path, gives_up: GivesUp, *, most_seconds: float
) -> None:
    """Compile in a process of its own, at the lowest priority; killed once `gives_up` says so, or it takes too long.

    `compile_to` is run there and is to be found by its module and name; CannotCompile where it wrote no library.
    """
    asked = json.dumps({"spec": spec.decode(), "library": str(library)}).encode()
    process = subprocess.Popen(
        _command(compile_to),
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
        _wait(process, gives_up, most_seconds)
    finally:
        reason = _end(process)
    if reason or not library.exists():
        raise CannotCompile(reason or "the compiling process wrote nothing")


def _command(compile_to: CompileTo) -> list[str]:
    found = f"from {compile_to.__module__} import {compile_to.__name__} as compile_to"
    return [sys.executable, "-c", f"from app.programs.child import main; {found}; main(compile_to)"]


def _environment(work: Path) -> dict[str, str]:
    """Return what keeps the child to one thread and its files to its workspace."""
    # What the compiler found out about the processor, some small libraries, is kept: it takes half of a short compile.
    places = {"TORCHINDUCTOR_CACHE_DIR": str(work.parent / "processor"), "TMPDIR": str(work)}
    found = os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH"))))
    return {**places, "PYTHONPATH": found, "OMP_NUM_THREADS": "1", "TORCHINDUCTOR_COMPILE_THREADS": "1"}


def _wait(process: subprocess.Popen[bytes], gives_up: GivesUp, most_seconds: float) -> None:
    """Wait for the child's end without taking it: until then its number, by which it is killed, is nobody else's."""
    until = time.monotonic() + most_seconds
    while os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT | os.WNOHANG) is None:
        if gives_up():
            raise CannotCompile("nobody waits for it any more")
        if time.monotonic() > until:
            raise CannotCompile(f"it takes longer than {most_seconds:g} s")
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
