"""What a compiling child can be told to do, for tests of the child and of its parent: nothing here takes long."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

from app.programs.process import compile_in_child


def write(spec_json: str, library: Path) -> None:
    """Write no library, but what the child is surrounded by."""
    print("what libraries print is not for the parent")
    print("nor is this", file=sys.stderr)
    names = ("TORCHINDUCTOR_CACHE_DIR", "TORCHINDUCTOR_COMPILE_THREADS", "OMP_NUM_THREADS", "TMPDIR")
    told = {"spec": spec_json, "niceness": os.nice(0), **{name: os.environ[name] for name in names}}
    library.write_text(json.dumps(told))


def write_nothing(spec_json: str, library: Path) -> None:
    """Come back without a library."""


def fail(spec_json: str, library: Path) -> None:
    """Say why, at length."""
    raise ValueError("x" * 1_000_000)


def crash(spec_json: str, library: Path) -> None:
    """End as a fault in machine code does."""
    os.abort()


def never_end(spec_json: str, library: Path) -> None:
    """Wait for a process of its own, as for a C++ compiler; the library tells both numbers."""
    sleeping = subprocess.Popen(["sleep", "600"])
    half = library.with_suffix(".half")
    half.write_text(json.dumps([os.getpid(), sleeping.pid]))
    half.rename(library)
    time.sleep(600)


def compile_without_end(library: str) -> None:
    """Be a parent that waits for ever."""
    compile_in_child(never_end, b"{}", Path(library), lambda: False, most_seconds=600)
