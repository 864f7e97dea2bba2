import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from time import monotonic
from typing import Any

import psycopg
import pytest
from sqlalchemy import event
from sqlalchemy.pool import Pool

from app.store import Addition, NewAnswer, NewRevision, Revision, Store, open_store
from innerloop.errors import RevisionConflict, StoreFull, StoreUnavailable, TaskNotFound

MakeRevision = Callable[..., NewRevision]
Add = Callable[..., Revision]

DISK_FULL = """
CREATE FUNCTION disk_full() RETURNS trigger LANGUAGE plpgsql AS
$$ BEGIN RAISE 'could not extend file' USING ERRCODE = '53100'; END $$;
CREATE TRIGGER disk_full BEFORE INSERT ON revisions EXECUTE FUNCTION disk_full();
CREATE TRIGGER disk_full BEFORE INSERT ON idempotent_answers EXECUTE FUNCTION disk_full();
"""


def read_only(url: str) -> str:
    """Return the URL of the same database, opened such that it refuses to be written to."""
    if url.startswith("sqlite"):
        return url.replace("sqlite:///", "sqlite:///file:") + "?mode=ro&uri=true"
    return f"{url}&options=-c%20default_transaction_read_only%3Don"


@contextmanager
def locked(url: str) -> Iterator[None]:
    """Hold a lock that writers wait for."""
    if url.startswith("sqlite"):
        with sqlite3.connect(url.removeprefix("sqlite:///"), isolation_level=None) as file:
            file.execute("BEGIN IMMEDIATE")
            yield
            file.execute("ROLLBACK")
        file.close()
    else:
        with psycopg.connect(url) as connection:
            connection.execute("LOCK TABLE tasks, idempotent_answers IN ACCESS EXCLUSIVE MODE")
            yield


@contextmanager
def full(url: str) -> Iterator[None]:
    """Leave no room for a row to stores that are opened inside the block."""

    def stay_small(connection: Any, _record: object) -> None:
        connection.execute("PRAGMA max_page_count = 1")  # is raised to the size that it has

    if url.startswith("sqlite"):
        event.listen(Pool, "connect", stay_small)
        yield
        event.remove(Pool, "connect", stay_small)
    else:
        with psycopg.connect(url, autocommit=True) as connection:
            connection.execute(DISK_FULL)
            yield
            connection.execute("DROP FUNCTION disk_full CASCADE")


@contextmanager
def opened(url: str, wait_ms: int = 5_000) -> Iterator[Store]:
    store = open_store(url, wait_ms=wait_ms, num_connections=4)
    yield store
    store.close()


def test_read_only_database_is_read_and_not_written(
    add: Add, url: str, new_revision: MakeRevision, now: datetime
) -> None:
    added = add()
    with opened(read_only(url)) as store:
        assert store.revision("default", "patient-17", now=now) == added
        assert store.add_model_version("sinusoid", {"learner": "maml"}, b"initial weights").version == 1
        with pytest.raises(StoreUnavailable, match="takes no writes"):
            store.add_revision(new_revision(), expected_latest=1, keep_revisions=20, now=now)
        with pytest.raises(StoreUnavailable, match="takes no writes"):
            store.delete_task("default", "patient-17", now=now)
        with pytest.raises(StoreUnavailable, match="takes no writes"):
            store.check_writable()


def test_full_database_stores_nothing_by_halves(
    store: Store, add: Add, url: str, new_revision: MakeRevision, now: datetime
) -> None:
    add()
    large = new_revision("large", weights=b"w" * 1_000_000)
    answer: NewAnswer[Revision] = NewAnswer("/adapt", "key", "body", 201, lambda _: {})
    with full(url), opened(url) as small:
        with pytest.raises(StoreFull):
            small.check_writable()
        with pytest.raises(StoreFull):
            small.add_revision(large, expected_latest=0, keep_revisions=1, now=now, idempotent=answer)
        assert small.task("default", "patient-17", now=now).revisions == 1
        with pytest.raises(TaskNotFound):
            small.task("default", "large", now=now)
        assert small.idempotent_answer("default", "/adapt", "key") is None
    store.check_writable()
    assert store.add_revision(large, expected_latest=0, keep_revisions=1, now=now).revision == 1


def test_full_database_takes_of_a_group_what_it_has_room_for(
    store: Store, add: Add, url: str, new_revision: MakeRevision, now: datetime
) -> None:
    add()
    large = Addition(new_revision("large", weights=b"w" * 1_000_000), 0)
    refused = Addition(new_revision("patient-17"), 7)
    with full(url), opened(url) as small:
        results = small.add_revisions([large, refused, large], keep_revisions=1, now=now)
        assert [type(one) for one in results] == [StoreFull, RevisionConflict, StoreFull]
        with pytest.raises(TaskNotFound):
            small.task("default", "large", now=now)


@pytest.mark.parametrize("url", ["sqlite"], indirect=True)
def test_large_addition_that_finds_no_room_leaves_it_to_its_neighbours(
    store: Store, add: Add, url: str, new_revision: MakeRevision, now: datetime
) -> None:
    add("old", weights=b"w" * 100_000)
    store.delete_task("default", "old", now=now)
    group = [Addition(new_revision(name, weights=b"w" * size), 0) for name, size in (("a", 9), ("b", 10**6), ("c", 9))]
    with full(url), opened(url) as small:
        results = small.add_revisions(group, keep_revisions=1, now=now)
        assert [type(one) for one in results] == [Revision, StoreFull, Revision]
    assert [task.task_id for task in store.tasks("default", now=now)[0]] == ["a", "c"]


@pytest.mark.parametrize("url", ["sqlite"], indirect=True)
def test_full_database_takes_writes_again_after_a_delete(
    add: Add, url: str, new_revision: MakeRevision, now: datetime
) -> None:
    add("old", weights=b"w" * 1_000_000)
    with full(url), opened(url) as small:
        new = new_revision("new", weights=b"w" * 900_000)
        with pytest.raises(StoreFull):
            small.add_revision(new, expected_latest=0, keep_revisions=1, now=now)
        small.delete_task("default", "old", now=now)
        assert small.add_revision(new, expected_latest=0, keep_revisions=1, now=now).revision == 1
        small.check_writable()


def test_locked_database_is_waited_for_and_no_longer(
    store: Store, url: str, new_revision: MakeRevision, now: datetime
) -> None:
    with opened(url, wait_ms=200) as hasty:
        with locked(url):
            start = monotonic()
            with pytest.raises(StoreUnavailable, match="locked"):
                hasty.add_revision(new_revision(), expected_latest=0, keep_revisions=20, now=now)
            assert 0.15 < monotonic() - start < 2
            with pytest.raises(StoreUnavailable, match="locked"):
                hasty.check_writable()
        assert hasty.add_revision(new_revision(), expected_latest=0, keep_revisions=20, now=now).revision == 1
        hasty.check_writable()


def test_group_waits_for_a_lock_no_longer_than_one_addition(
    store: Store, url: str, new_revision: MakeRevision, now: datetime
) -> None:
    group = [Addition(new_revision(f"task-{i}"), 0) for i in range(20)]
    with opened(url, wait_ms=200) as hasty:
        with locked(url):
            start = monotonic()
            with pytest.raises(StoreUnavailable, match="locked"):
                hasty.add_revisions(group, keep_revisions=20, now=now)
            assert monotonic() - start < 2
        results = hasty.add_revisions(group, keep_revisions=20, now=now)
        assert [type(one) for one in results] == [Revision] * 20


def test_failing_caller_leaves_nothing_and_no_lock(store: Store, add: Add, now: datetime) -> None:
    def fail(_revision: Revision) -> dict[str, object]:
        raise KeyError("a fault in the caller")

    with pytest.raises(KeyError):
        add(idempotent=NewAnswer("/adapt", "key", "body", 201, fail))
    with pytest.raises(TaskNotFound):
        store.task("default", "patient-17", now=now)
    assert add().revision == 1


@pytest.mark.parametrize(
    "url", ["sqlite:////dev/null/store.db", "postgresql://user@/name?host=/nowhere", "postgresql://127.0.0.1:1/x"]
)
def test_store_that_cannot_be_reached_is_unavailable(url: str) -> None:
    with pytest.raises(StoreUnavailable):
        open_store(url)


def test_file_that_is_no_database_is_unavailable(tmp_path: Any) -> None:
    (tmp_path / "store.db").write_bytes(b"something else entirely " * 1000)
    with pytest.raises(StoreUnavailable):
        open_store(f"sqlite:///{tmp_path}/store.db")


@pytest.mark.parametrize("url", ["postgresql"], indirect=True)
def test_cut_connections_are_replaced_unnoticed(store: Store, add: Add, postgresql_url: str) -> None:
    add()
    _admin(postgresql_url, "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = 'migrated'")
    assert store.model("sinusoid").active_version == 1
    assert add(latest=1).revision == 2


@pytest.mark.parametrize("url", ["postgresql"], indirect=True)
def test_store_recovers_when_its_database_is_back(store: Store, add: Add, postgresql_url: str) -> None:
    _admin(postgresql_url, "ALTER DATABASE migrated ALLOW_CONNECTIONS false")
    _admin(postgresql_url, "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = 'migrated'")
    for operation in (store.models, store.check_writable, add):
        with pytest.raises(StoreUnavailable):
            operation()
    _admin(postgresql_url, "ALTER DATABASE migrated ALLOW_CONNECTIONS true")
    store.check_writable()
    assert add().revision == 1


@pytest.mark.parametrize("url", ["postgresql"], indirect=True)
def test_transaction_whose_connection_is_cut_is_undone(
    store: Store, add: Add, postgresql_url: str, now: datetime
) -> None:
    cut = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = 'migrated'"

    def cut_in_the_middle(_revision: Revision) -> dict[str, object]:
        _admin(postgresql_url, cut)
        return {}

    with pytest.raises(StoreUnavailable):
        add(idempotent=NewAnswer("/adapt", "key", "body", 201, cut_in_the_middle))
    with pytest.raises(TaskNotFound):
        store.task("default", "patient-17", now=now)
    assert add().revision == 1


def _admin(server_url: str, statement: str) -> None:
    with psycopg.connect(server_url, autocommit=True) as connection:
        connection.execute(statement)
