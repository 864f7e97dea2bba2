"""The service on a core of its own, and what its process takes."""

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from benchmarks.results import ROOT
from benchmarks.service import COMPILED, Server, service

MIB = 1024 * 1024
SETTINGS: Mapping[str, object] = {
    "compute_threads": 1,
    "omp_num_threads": 1,
    "job_worker": 0,
    "compile_serving": "never",
    "task_cache_bytes": 16 * MIB,  # full before anything is measured, so that memory can be flat
}


class Cores(NamedTuple):
    """Which core is whose."""

    service: int
    generator: int

    @property
    def apart(self) -> bool:
        """Whether there are two."""
        return self.service != self.generator


def cores() -> Cores:
    """Return the last core for the service and the first for the generator."""
    allowed = sorted(os.sched_getaffinity(0))
    return Cores(allowed[-1], allowed[0])


@contextmanager
def pinned_service(on: Cores, settings: Mapping[str, object]) -> Iterator[tuple[Server, Path]]:
    """Serve on one core, with this process on the other, and give the service and its data folder."""
    before = os.sched_getaffinity(0)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        COMPILED.mkdir(mode=0o700, parents=True, exist_ok=True)
        (folder / "compiled").symlink_to(COMPILED)
        os.sched_setaffinity(0, {on.service})  # what is started now inherits it, with all threads to come
        try:
            with service({**SETTINGS, **settings, "data_dir": folder}) as server:
                os.sched_setaffinity(0, {on.generator})
                yield server, folder
        finally:
            os.sched_setaffinity(0, before)


def new_key(folder: Path, tenant: str) -> str:
    """Make a key of a tenant as an operator would."""
    command = [sys.executable, "-m", "app", "keys", "create", "--tenant", tenant]
    environment = {**os.environ, "DATA_DIR": str(folder)}
    made = subprocess.run(command, cwd=ROOT, env=environment, check=True, capture_output=True, text=True)
    return made.stdout.strip()


def resident_mib(pid: int) -> float:
    """Return what of a process lies in memory."""
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / MIB


def busy_seconds(core: int) -> float:
    """Return how long a core was not idle so far; NaN where the system does not tell."""
    try:
        lines = Path("/proc/stat").read_text().splitlines()
    except OSError:
        return float("nan")
    line = next(line.split() for line in lines if line.startswith(f"cpu{core} "))
    ticks = [int(each) for each in line[1:9]]
    idle, waiting = ticks[3:5]
    return (sum(ticks) - idle - waiting) / os.sysconf("SC_CLK_TCK")
