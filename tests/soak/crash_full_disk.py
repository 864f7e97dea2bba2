"""A disk that is really full, under load: what is refused, what is kept, and that it is over when there is room.

`python -m tests.soak.crash_full_disk` mounts a small file system of its own, for which it needs to be root on Linux. It
writes what it found to `benchmarks/results/reliability/full-disk.json` and ends with status 1 if anything was wrong.
"""

import argparse
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx

from benchmarks.results import RESULTS, Figure, part_result, show, write_part
from tests.api.asking import Json, close, sine
from tests.api.service import Service, start_service
from tests.soak.checker_database import read_stored

QUERY = [[-3.0], [0.5], [2.5]]
REFUSED = 30
"""Answers of 507 before there is room again."""
RECOVERY_SECONDS = 30.0
ROOM_BYTES = 2 * 1024 * 1024
"""What is left of the disk when the load begins."""


@contextmanager
def small_disk(megabytes: int) -> Iterator[Path]:
    """Mount a file system of its own that is soon full."""
    folder = Path(tempfile.mkdtemp())
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={megabytes}m", "none", str(folder)], check=True)
    try:
        yield folder
    finally:
        subprocess.run(["umount", str(folder)], check=True)
        folder.rmdir()


class Found:
    """What was told, and what was wrong."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self.findings: list[str] = []
        self.told: dict[str, list[list[float]]] = {}
        self.refused: set[str] = set()
        self.recovered_after = 0.0


def fill(service: Service, found: Found) -> None:
    """Adapt tasks of many rows until the disk has been full for a while."""
    for number in range(100_000):
        task_id = f"task-{number}"
        answer = service.http.post("/adapt", json=_body(task_id, number))
        found.counts[str(answer.status_code)] += 1
        if answer.status_code == 201:
            found.told[task_id] = _predicted(service.http, task_id)
        elif answer.status_code == 507:
            found.refused.add(task_id)
        else:
            found.findings.append(f"{task_id}: {answer.status_code} {answer.text[:200]}")
        if len(found.refused) >= REFUSED:
            break
    if service.process.poll() is not None:
        found.findings.append("the process ended")
    if service.http.get("/healthz").status_code != 200 or service.http.get("/readyz").status_code != 503:
        found.findings.append("it is not alive, or says that it is ready")


def recover(service: Service, found: Found) -> None:
    """Wait until the service stores again, of itself."""
    began = time.monotonic()
    while time.monotonic() - began < RECOVERY_SECONDS:
        answer = service.http.post("/adapt", json=_body("recovered", 1))
        if answer.status_code == 201 and service.http.get("/readyz").status_code == 200:
            found.recovered_after = time.monotonic() - began
            return
        time.sleep(0.1)
    found.findings.append(f"after {RECOVERY_SECONDS} s with room: {answer.status_code} {answer.text[:200]}")


def check(service: Service, found: Found) -> None:
    """Hold what is stored against what was told."""
    for task_id, expected in found.told.items():
        if not close(_predicted(service.http, task_id), expected):
            found.findings.append(f"{task_id} predicts something else")
    for task_id in found.refused:
        if service.http.get(f"/tasks/{task_id}").status_code != 404:
            found.findings.append(f"{task_id} was refused and is there")


def run(megabytes: int) -> Found:
    """Fill a disk, make room, and check before and after a crash."""
    found = Found()
    with small_disk(megabytes) as disk:
        ballast = disk / "ballast"
        data = disk / "data"
        with tempfile.TemporaryDirectory() as logs:
            data.mkdir()
            database = f"sqlite:///{data}/innerloop.db"
            service = start_service(Path(logs) / "data", database_url=database)
            try:
                ballast.write_bytes(bytes(shutil.disk_usage(disk).free - ROOM_BYTES))
                fill(service, found)
                ballast.unlink()
                recover(service, found)
                check(service, found)
                service.kill()
                service = start_service(Path(logs) / "data", database_url=database)
                check(service, found)
                found.findings += read_stored(database).damage
            finally:
                service.stop()
    return found


def _body(task_id: str, number: int) -> Json:
    return {"task_id": task_id, "support": sine(300, phase=number / 10), "steps": 1, "estimate": False}


def _predicted(http: httpx.Client, task_id: str) -> list[list[float]]:
    answer = http.post("/predict", json={"task_id": task_id, "inputs": QUERY})
    outputs: list[list[float]] = answer.json().get("outputs", [])
    return outputs


def main() -> None:
    """Run, and write what was found."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--megabytes", type=int, default=128)
    options = parser.parse_args()
    found = run(options.megabytes)
    for finding in found.findings:
        print(finding)
    seconds = f"{found.recovered_after:.1f} s"
    figures = [
        Figure("calls refused with 507 on a full disk", f"{len(found.refused)}", "30", len(found.refused) >= 30, ""),
        Figure("acknowledged and lost, or refused and stored", f"{len(found.findings)}", "0", not found.findings, ""),
        Figure("stores again, once there is room, after", seconds, "30 s", 0 < found.recovered_after < 30, ""),
    ]
    numbers = {"answers": dict(found.counts), "findings": found.findings}
    command = f"python -m tests.soak.crash_full_disk --megabytes {options.megabytes}"
    print(write_part(part_result("full-disk", command, show(figures), numbers), RESULTS / "reliability"))
    sys.exit(1 if found.findings else 0)


if __name__ == "__main__":
    main()
