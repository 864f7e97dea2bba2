"""What a database holds, read beside the service, as a checker needs it."""

import sqlite3
from collections import Counter
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import psycopg


class StoredTask(NamedTuple):
    """A row of the tasks."""

    latest: int
    """0 of a task that was deleted."""
    last_ever: int


class StoredRevision(NamedTuple):
    """A row of the revisions."""

    model: str
    support_size: int
    support_bytes: int
    weights_sha256: str | None


class StoredJob(NamedTuple):
    """A row of the jobs with the numbers of its events."""

    name: str
    status: str
    last_event: int
    events: tuple[int, ...]
    ends: int


@dataclass
class Stored:
    """All of it at one moment, or nearly: what runs meanwhile are jobs alone."""

    tasks: dict[str, StoredTask] = field(default_factory=dict)
    revisions: dict[str, dict[int, StoredRevision]] = field(default_factory=dict)
    answers: Counter[str] = field(default_factory=Counter)
    """Rows by idempotency key."""
    jobs: dict[str, StoredJob] = field(default_factory=dict)
    versions: Counter[str] = field(default_factory=Counter)
    active: dict[str, int | None] = field(default_factory=dict)
    damage: list[str] = field(default_factory=list)
    """What the database finds wrong with its own files."""


def read_stored(url: str) -> Stored:
    """Read everything from the database of a URL as the service takes it."""
    with _connected(url) as connection:
        stored = Stored()
        for task_id, latest, last_ever in _rows(
            connection, "SELECT task_id, latest_revision, last_revision_ever FROM tasks"
        ):
            stored.tasks[task_id] = StoredTask(latest, last_ever)
        columns = "task_id, revision, model, model_version, support_size, length(support), weights_sha256"
        for task_id, number, model, version, size, length, weights in _rows(
            connection, f"SELECT {columns} FROM revisions"
        ):
            of_task = stored.revisions.setdefault(task_id, {})
            of_task[number] = StoredRevision(f"{model}@{version}", size, length, weights)
        stored.answers.update(key for (key,) in _rows(connection, "SELECT key FROM idempotent_answers"))
        _read_jobs(connection, stored)
        stored.versions.update(name for (name,) in _rows(connection, "SELECT name FROM model_versions"))
        stored.active.update(_rows(connection, "SELECT name, active_version FROM models"))
        if isinstance(connection, sqlite3.Connection):
            found = [text for (text,) in _rows(connection, "PRAGMA integrity_check")]
            found += [f"foreign key of {row}" for row in _rows(connection, "PRAGMA foreign_key_check")]
            stored.damage += [text for text in found if text != "ok"]
        return stored


def _read_jobs(connection: Any, stored: Stored) -> None:
    # Events first: a job that goes on meanwhile has more of them in `last_event`, and never fewer.
    events: dict[str, list[tuple[int, str]]] = {}
    for job_id, number, kind in _rows(connection, "SELECT job_id, event_id, kind FROM job_events ORDER BY event_id"):
        events.setdefault(job_id, []).append((number, kind))
    for job_id, name, status, last_event in _rows(connection, "SELECT job_id, name, status, last_event FROM jobs"):
        of_job = events.get(job_id, [])
        ends = sum(kind == "end" for _, kind in of_job)
        stored.jobs[job_id] = StoredJob(name, status, last_event, tuple(number for number, _ in of_job), ends)


@contextmanager
def _connected(url: str) -> Iterator[Any]:
    """Open a connection that only reads, and sees one moment."""
    if url.startswith("sqlite:///"):
        with closing(sqlite3.connect(f"file:{url.removeprefix('sqlite:///')}?mode=ro", uri=True, timeout=30)) as file:
            file.execute("BEGIN")
            yield file
        return
    with psycopg.connect(url) as connection:
        connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY")
        yield connection


def _rows(connection: Any, query: str) -> list[Any]:
    found: list[Any] = connection.execute(query).fetchall()
    return found
