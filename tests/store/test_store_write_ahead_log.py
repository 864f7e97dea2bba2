import threading
from collections.abc import Callable
from datetime import datetime
from pathlib import Path

import pytest

from app.store import Addition, NewRevision, Store
from app.store.write_ahead_log import COPY_BYTES, RESTART_BYTES

MakeRevision = Callable[..., NewRevision]
MEGABYTE = 2**20


@pytest.mark.parametrize("url", ["sqlite"], indirect=True)
def test_log_of_a_busy_database_stays_bounded_and_is_copied_meanwhile(
    store: Store, new_revision: MakeRevision, url: str, now: datetime
) -> None:
    file = Path(url.removeprefix("sqlite:///"))
    longest = 0
    for i in range(100):
        group = [Addition(new_revision(f"task-{i}-{j}", weights=bytes(MEGABYTE // 2)), 0) for j in range(2)]
        assert all(not isinstance(one, Exception) for one in store.add_revisions(group, keep_revisions=1, now=now))
        longest = max(longest, log_of(file).stat().st_size)
    assert COPY_BYTES < longest < RESTART_BYTES + 32 * MEGABYTE
    assert file.stat().st_size > 60 * MEGABYTE
    assert store.weights_of([("default", "task-0-0", 1)], now=now) == [bytes(MEGABYTE // 2)]


@pytest.mark.parametrize("url", ["sqlite"], indirect=True)
def test_little_that_is_written_starts_no_thread(store: Store, new_revision: MakeRevision, now: datetime) -> None:
    before = num_threads()
    store.add_revision(new_revision(), expected_latest=0, keep_revisions=1, now=now)
    assert num_threads() == before


@pytest.mark.parametrize("url", ["sqlite"], indirect=True)
def test_closed_store_leaves_no_thread(store: Store, new_revision: MakeRevision, now: datetime) -> None:
    before = num_threads()
    store.add_revision(new_revision(weights=bytes(5 * MEGABYTE)), expected_latest=0, keep_revisions=1, now=now)
    assert num_threads() == before + 1
    store.close()
    assert num_threads() == before


@pytest.mark.parametrize("url", ["sqlite"], indirect=True)
def test_deletes_empty_the_log_while_it_is_copied(
    store: Store, new_revision: MakeRevision, url: str, now: datetime
) -> None:
    for i in range(5):
        new = new_revision(f"task-{i}", weights=b"secret" * MEGABYTE)
        store.add_revision(new, expected_latest=0, keep_revisions=1, now=now)
        store.delete_task("default", f"task-{i}", now=now)
    file = Path(url.removeprefix("sqlite:///"))
    assert b"secret" not in file.read_bytes() + log_of(file).read_bytes()


def log_of(file: Path) -> Path:
    return file.with_name(file.name + "-wal")


def num_threads() -> int:
    return sum(thread.name == "write-ahead-log" for thread in threading.enumerate())
