from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select

from app.store import Addition, NewAnswer, NewRevision, Revision, Store
from app.store.engine import make_engine
from app.store.tables import TaskRow
from innerloop.errors import RevisionConflict, TaskNotFound

Add = Callable[..., Revision]
ANSWER: NewAnswer[Revision] = NewAnswer("/adapt", "key", "body", 201, lambda new: {"revision": new.revision})


def test_deleted_task_is_not_there(store: Store, add: Add, now: datetime) -> None:
    add()
    store.delete_task("default", "patient-17", now=now)
    for operation in (store.task, store.revisions, store.revision, store.revision_weights, store.delete_task):
        with pytest.raises(TaskNotFound):
            operation("default", "patient-17", now=now)
    assert store.tasks("default", now=now) == ([], None)


def test_numbers_go_on_after_a_delete(store: Store, add: Add, now: datetime) -> None:
    add()
    add(latest=1)
    store.delete_task("default", "patient-17", now=now)
    assert add(latest=0).revision == 3
    task = store.task("default", "patient-17", now=now)
    assert (task.revision, task.revisions) == (3, 1)


def test_delete_takes_the_answers_of_the_task_along(store: Store, add: Add, now: datetime) -> None:
    add(idempotent=ANSWER)
    store.delete_task("default", "patient-17", now=now)
    assert store.idempotent_answer("default", "/adapt", "key") is None


def test_delete_leaves_other_tasks_alone(store: Store, add: Add, now: datetime) -> None:
    add("a", tenant="x")
    add("b", idempotent=ANSWER)
    add("a")
    store.delete_task("default", "a", now=now)
    assert store.task("x", "a", now=now).revisions == 1
    assert store.revision_weights("default", "b", now=now) == b"adapted weights"
    assert store.idempotent_answer("default", "/adapt", "key") is not None


def test_only_the_number_of_a_deleted_task_is_left(store: Store, add: Add, url: str, now: datetime) -> None:
    add(ttl_seconds=60)
    later = now + timedelta(seconds=1)
    store.delete_task("default", "patient-17", now=later)
    engine = make_engine(url, synchronous="NORMAL", wait_ms=1000, num_connections=1)
    with engine.connect() as connection:
        row = connection.execute(select(TaskRow.__table__)).one()
    engine.dispose()
    assert tuple(row) == ("default", "patient-17", None, 0, 1, later, later, None)


def test_purge_deletes_expired_tasks_alone(store: Store, add: Add, now: datetime) -> None:
    add("old", ttl_seconds=60, idempotent=ANSWER)
    add("older", ttl_seconds=30)
    add("young", ttl_seconds=61)
    add("endless")
    later = now + timedelta(seconds=60)
    assert store.purge_expired(now=later, limit=1) == 1
    assert store.purge_expired(now=later) == 1
    assert store.purge_expired(now=later) == 0
    assert [task.task_id for task in store.tasks("default", now=now)[0]] == ["endless", "young"]
    assert store.idempotent_answer("default", "/adapt", "key") is None
    assert add("old", latest=0, at=later).revision == 2


@pytest.mark.parametrize("url", ["sqlite"], indirect=True)
@pytest.mark.parametrize("how", ["delete", "purge"])
def test_deleted_bytes_are_in_no_file(store: Store, add: Add, tmp_path: Path, now: datetime, how: str) -> None:
    secret = b"a line that is nowhere else " * 1000
    add(weights=secret, ttl_seconds=60)
    assert _is_in_files(secret[:100], tmp_path)
    if how == "delete":
        store.delete_task("default", "patient-17", now=now)
    else:
        assert store.purge_expired(now=now + timedelta(seconds=60)) == 1
    assert not _is_in_files(secret[:100], tmp_path)


@pytest.mark.parametrize("how", ["delete", "purge", "replace", "adapt anew"])
def test_deleted_bytes_are_in_no_table(
    store: Store,
    add: Add,
    new_revision: Callable[..., NewRevision],
    all_rows: Callable[[], dict[str, list[tuple[Any, ...]]]],
    now: datetime,
    how: str,
) -> None:
    secret = "a line that is nowhere else"
    answer: NewAnswer[Revision] = NewAnswer("/adapt", f"key of {secret}", "body", 201, lambda new: {"said": secret})
    of_task = {"weights": f"weights of {secret}".encode(), "support": f"rows of {secret}".encode()}
    add(ttl_seconds=60, idempotent=answer, answer={"loss": secret}, classes=[secret, "b"], **of_task)
    add(latest=1, **of_task)
    assert str(all_rows()).count(secret) == 8
    later = now + timedelta(seconds=60)
    if how == "delete":
        store.delete_task("default", "patient-17", now=now)
    elif how == "purge":
        assert store.purge_expired(now=later) == 1
    elif how == "replace":
        addition = Addition(new_revision(), 2, replaces_all=True)
        (made,) = store.add_revisions([addition], keep_revisions=20, now=now)
        assert isinstance(made, Revision)
        assert (made.revision, made.expires_at) == (3, later)
        assert [one.revision for one in store.revisions("default", "patient-17", now=now)[0]] == [3]
        assert add(latest=3).revision == 4
    else:
        add(at=later)
    assert secret not in str(all_rows())


@pytest.mark.parametrize("url", ["sqlite"], indirect=True)
def test_replaced_bytes_are_in_no_file(
    store: Store, add: Add, new_revision: Callable[..., NewRevision], tmp_path: Path, now: datetime
) -> None:
    secret = b"a line that is nowhere else " * 1000
    add(support=secret)
    add(latest=1)
    assert _is_in_files(secret[:100], tmp_path)
    store.add_revisions([Addition(new_revision(), 2, replaces_all=True)], keep_revisions=20, now=now)
    assert not _is_in_files(secret[:100], tmp_path)


@pytest.mark.parametrize("url", ["sqlite"], indirect=True)
def test_pruned_bytes_are_in_no_file_once_they_are_to_be_forgotten(store: Store, add: Add, tmp_path: Path) -> None:
    secret = b"a line that is nowhere else " * 1000
    add(support=secret)
    store.forget_overwritten()
    assert _is_in_files(secret[:100], tmp_path)
    add(latest=1, keep=1)
    store.forget_overwritten()
    assert not _is_in_files(secret[:100], tmp_path)


def test_a_refused_replacement_takes_nothing_away(
    store: Store, add: Add, new_revision: Callable[..., NewRevision], now: datetime
) -> None:
    add()
    add(latest=1)
    (refused,) = store.add_revisions([Addition(new_revision(), 1, replaces_all=True)], keep_revisions=20, now=now)
    assert isinstance(refused, RevisionConflict)
    assert [one.revision for one in store.revisions("default", "patient-17", now=now)[0]] == [2, 1]


def test_a_revision_without_its_rows_has_no_hash_of_them(store: Store, add: Add, now: datetime) -> None:
    added = add(support=None)
    assert (added.support_sha256, added.support_stored, added.bytes) == ("", False, 15)
    assert store.revision("default", "patient-17", now=now) == added
    assert not store.task("default", "patient-17", now=now).support_stored
    assert store.revision_weights("default", "patient-17", now=now) == b"adapted weights"
    with pytest.raises(ValueError, match="expected the support rows"):
        add(support=None, weights=None, authority="rows")


def _is_in_files(text: bytes, folder: Path) -> bool:
    return any(text in file.read_bytes() for file in folder.iterdir() if file.is_file())
