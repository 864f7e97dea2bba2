"""What was acknowledged is there after kill -9, and nothing is there by halves."""

import os
import signal
import subprocess
import sys
from datetime import datetime
from pathlib import Path

from app.store import Store

ROOT = Path(__file__).parents[2]
NUM_LINES = 30  # acknowledged before the kill

# Four threads, each with a task of its own; a line is printed once its revision was returned.
WRITER = """
import os, sys, threading
from datetime import UTC, datetime
from app.store import NewAnswer, NewRevision, open_store

store = open_store(sys.argv[1])

def write(task_id):
    latest = 0
    while True:
        blob = f"{task_id} {latest + 1}".encode() * 500
        new = NewRevision("default", task_id, "sinusoid", 1, {}, blob, 1, None, {}, blob, "weights")
        answer = NewAnswer("/adapt", f"{task_id}-{latest + 1}", "", 201, lambda r: {"revision": r.revision})
        latest = store.add_revision(
            new, expected_latest=latest, keep_revisions=10_000, now=datetime.now(UTC), idempotent=answer
        ).revision
        os.write(1, f"{task_id} {latest}\\n".encode())

for i in range(4):
    threading.Thread(target=write, args=(f"{sys.argv[2]}-{i}",)).start()
"""


def test_all_that_was_acknowledged_survives_kill_9(store: Store, url: str, now: datetime) -> None:
    for attempt in range(3):
        acknowledged = write_and_kill(url, f"task-{attempt}")
        tasks, _ = store.tasks("default", now=now)
        found = {task.task_id: task.revision for task in tasks}
        for task_id, number in acknowledged.items():
            # One more may have been committed without the line that says so.
            assert found[task_id] - number in {0, 1}
            assert_whole(store, task_id, found[task_id], now)
        store.check_writable()


def write_and_kill(url: str, prefix: str) -> dict[str, int]:
    """Return the last number that was acknowledged for each task."""
    command = [sys.executable, "-c", WRITER, url, prefix]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as writer:
        assert writer.stdout is not None
        lines = [writer.stdout.readline() for _ in range(NUM_LINES)]
        writer.send_signal(signal.SIGKILL)
        lines += writer.stdout.readlines()
    return {task_id: int(number) for task_id, number in (line.split() for line in lines)}


def assert_whole(store: Store, task_id: str, latest: int, now: datetime) -> None:
    assert store.task("default", task_id, now=now).revisions == latest
    for number in range(1, latest + 1):
        support = store.revision_support("default", task_id, number, now=now)
        weights = store.revision_weights("default", task_id, number, now=now)
        assert support == weights == f"{task_id} {number}".encode() * 500
        answer = store.idempotent_answer("default", "/adapt", f"{task_id}-{number}")
        assert answer is not None
        assert answer.answer == {"revision": number}
