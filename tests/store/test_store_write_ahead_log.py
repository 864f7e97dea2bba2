import sqlite3
import threading
import time
from collections.abc import Callable
from contextlib import closing
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


@pytest.mark.parametrize("url", ["sqlite"], indirect=True)
def test_a_reader_that_takes_long_holds_up_neither_deletes_nor_writes(
    store: Store, new_revision: MakeRevision, url: str, now: datetime
) -> None:
    file = Path(url.removeprefix("sqlite:///"))
    for i in range(3):
        store.add_revision(
            new_revision(f"task-{i}", weights=b"secret" * 1000), expected_latest=0, keep_revisions=1, now=now
        )
    with closing(sqlite3.connect(file, isolation_level=None)) as reader:
        reader.execute("BEGIN")
        assert reader.execute("SELECT count(*) FROM revisions").fetchone() == (3,)
        began = time.monotonic()
        for i in range(3):
            store.delete_task("default", f"task-{i}", now=now)
            store.add_revision(new_revision(f"new-{i}"), expected_latest=0, keep_revisions=1, now=now)
        assert time.monotonic() - began < 2  # each waited five seconds for the reader once
        assert reader.execute("SELECT count(*) FROM revisions").fetchone() == (3,)
        reader.execute("COMMIT")
    # The traces that the reader kept go once it is gone, without another delete.
    until = time.monotonic() + 10
    while b"secret" in file.read_bytes() + log_of(file).read_bytes():
        assert time.monotonic() < until
        time.sleep(0.05)


@pytest.mark.parametrize("url", ["sqlite"], indirect=True)
def test_closing_just_when_the_log_is_to_be_copied_ends(
    store: Store, new_revision: MakeRevision, now: datetime, monkeypatch: pytest.MonkeyPatch
) -> None:
    closing_store = threading.Thread(target=store.close)
    clear = threading.Event.clear

    def clear_late(event: threading.Event) -> None:
        if threading.current_thread().name == "write-ahead-log" and not closing_store.ident:
            closing_store.start()
            time.sleep(0.2)
        clear(event)

    monkeypatch.setattr(threading.Event, "clear", clear_late)
    store.add_revision(new_revision(weights=bytes(5 * MEGABYTE)), expected_latest=0, keep_revisions=1, now=now)
    until = time.monotonic() + 5
    while not closing_store.ident and time.monotonic() < until:
        time.sleep(0.01)
    closing_store.join(5)
    assert not closing_store.is_alive()


def log_of(file: Path) -> Path:
    return file.with_name(file.name + "-wal")


def num_threads() -> int:
    return sum(thread.name == "write-ahead-log" for thread in threading.enumerate())
