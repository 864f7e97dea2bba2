import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from hashlib import sha256
from typing import Any

import pytest
from sqlalchemy import Engine, event

from app.store import NewAnswer, Revision, Store
from innerloop.errors import RevisionConflict, RevisionNotFound, TaskNotFound, VersionNotFound

Add = Callable[..., Revision]


def test_revision_comes_back_as_it_was_added(store: Store, add: Add, now: datetime) -> None:
    added = add(classes=["ä", "\x00"], settings={"rate": 0.1, "b": [1, None]}, ttl_seconds=9, authority="weights")
    assert store.revision("default", "patient-17", now=now) == added
    assert store.revision("default", "patient-17", 1, now=now) == added
    assert (added.revision, added.model, added.model_version) == (1, "sinusoid", 1)
    assert (added.classes, added.settings) == (["ä", "\x00"], {"rate": 0.1, "b": [1, None]})
    assert (added.support_sha256, added.bytes) == (sha256(b"support rows").hexdigest(), 27)
    assert (added.weights_sha256, added.authority) == (sha256(b"adapted weights").hexdigest(), "weights")
    assert (added.created_at, added.expires_at) == (now, now + timedelta(seconds=9))


def test_blobs_come_back_to_the_byte(store: Store, add: Add, now: datetime) -> None:
    support, weights = b"\x00\xff" * 70_000, bytes(range(256)) * 4_000
    add(support=support, weights=weights)
    assert store.revision_support("default", "patient-17", now=now) == support
    assert store.revision_weights("default", "patient-17", 1, now=now) == weights


def test_empty_blobs_are_blobs(store: Store, add: Add, now: datetime) -> None:
    add(weights=b"", support=b"")
    assert store.revision_weights("default", "patient-17", now=now) == b""
    assert store.revision_support("default", "patient-17", now=now) == b""


def test_numbers_count_up_by_one(add: Add) -> None:
    assert [add(latest=latest).revision for latest in range(4)] == [1, 2, 3, 4]


@pytest.mark.parametrize("expected", [0, 1, 3])
def test_add_conflicts_unless_the_latest_is_the_expected_one(
    store: Store, add: Add, now: datetime, expected: int
) -> None:
    add()
    add(latest=1)
    with pytest.raises(RevisionConflict, match="got 2"):
        add(latest=expected)
    assert store.task("default", "patient-17", now=now).revisions == 2


def test_add_to_a_missing_task_conflicts_unless_none_is_expected(store: Store, add: Add, now: datetime) -> None:
    with pytest.raises(RevisionConflict, match="got 0"):
        add(latest=1)
    with pytest.raises(TaskNotFound):
        store.task("default", "patient-17", now=now)


def test_conflict_with_an_expired_task_leaves_it_as_it_was(store: Store, add: Add, now: datetime) -> None:
    add(ttl_seconds=60)
    with pytest.raises(RevisionConflict, match="got 0"):
        add(latest=1, at=now + timedelta(seconds=60))
    assert store.task("default", "patient-17", now=now).revision == 1


def test_model_version_has_to_exist(store: Store, add: Add, now: datetime) -> None:
    with pytest.raises(VersionNotFound):
        add(model_version=2)
    with pytest.raises(VersionNotFound):
        add(model="missing")
    with pytest.raises(TaskNotFound):
        store.task("default", "patient-17", now=now)


def test_task_may_change_its_model(store: Store, add: Add, now: datetime) -> None:
    store.add_model_version("other", {}, b"weights")
    add()
    add(latest=1, model="other")
    assert store.task("default", "patient-17", now=now).model == "other"
    assert store.revision("default", "patient-17", 1, now=now).model == "sinusoid"


def test_oldest_revisions_over_the_limit_are_dropped(store: Store, add: Add, now: datetime) -> None:
    for latest in range(5):
        add(latest=latest, keep=3)
    kept, _ = store.revisions("default", "patient-17", now=now)
    assert [revision.revision for revision in kept] == [5, 4, 3]
    with pytest.raises(RevisionNotFound):
        store.revision_weights("default", "patient-17", 2, now=now)
    assert add(latest=5, keep=1).revision == 6
    assert store.task("default", "patient-17", now=now).revisions == 1


@pytest.mark.parametrize("number", [2, 0, -1, 2**31, 2**70])
def test_missing_revision_is_not_found(store: Store, add: Add, now: datetime, number: int) -> None:
    add()
    for read in (store.revision, store.revision_support, store.revision_weights):
        with pytest.raises(RevisionNotFound):
            read("default", "patient-17", number, now=now)
        with pytest.raises(TaskNotFound):
            read("default", "missing", number, now=now)


def test_revisions_come_in_pages_newest_first(store: Store, add: Add, now: datetime) -> None:
    for latest in range(5):
        add(latest=latest)
    pages = [store.revisions("default", "patient-17", now=now, limit=2)]
    while pages[-1][1] is not None:
        pages.append(store.revisions("default", "patient-17", now=now, after=pages[-1][1], limit=2))
    assert [[revision.revision for revision in rows] for rows, _ in pages] == [[5, 4], [3, 2], [1]]


def test_page_after_dropped_revisions_is_empty(store: Store, add: Add, now: datetime) -> None:
    for latest in range(3):
        add(latest=latest)
    _, cursor = store.revisions("default", "patient-17", now=now, limit=1)
    add(latest=3, keep=1)
    assert store.revisions("default", "patient-17", now=now, after=cursor) == ([], None)


def test_what_is_added_later_changes_no_revision(store: Store, add: Add, now: datetime) -> None:
    added = add()
    add(latest=1, weights=b"others", support=b"others", settings={"steps": 1}, classes=[1, 2])
    assert store.revision("default", "patient-17", 1, now=now) == added
    assert store.revision_support("default", "patient-17", 1, now=now) == b"support rows"
    assert store.revision_weights("default", "patient-17", 1, now=now) == b"adapted weights"


def test_no_statement_updates_a_revision(store: Store, add: Add, now: datetime) -> None:
    with _statements() as statements:
        for latest in range(3):
            add(latest=latest, keep=2, idempotent=NewAnswer("/adapt", f"{latest}", "", 201, lambda _: {}))
        store.set_expiry("default", "patient-17", now + timedelta(seconds=1), now=now)
        store.promote("sinusoid", 1)
        store.delete_task("default", "patient-17", now=now)
        add(ttl_seconds=1)
        store.purge_expired(now=now + timedelta(seconds=2))
    updated = {match[1] for text in statements if (match := re.match(r"UPDATE (\w+)", text))}
    assert updated == {"tasks"}


def test_lists_do_not_read_blobs(store: Store, add: Add, now: datetime) -> None:
    add()
    with _statements() as statements:
        store.tasks("default", now=now)
        store.task("default", "patient-17", now=now)
        store.revisions("default", "patient-17", now=now)
        store.revision("default", "patient-17", now=now)
        store.models()
        store.model("sinusoid")
        store.model_version("sinusoid")
    assert not [text for text in statements if re.search(r"\.(weights|support)\b", text)]
    assert any("support_size" in text for text in statements)


@contextmanager
def _statements() -> Iterator[list[str]]:
    """Collect the statements that run inside the block."""
    statements: list[str] = []

    def collect(_connection: Any, _cursor: Any, statement: str, *_rest: Any) -> None:
        statements.append(statement)

    event.listen(Engine, "before_cursor_execute", collect)
    try:
        yield statements
    finally:
        event.remove(Engine, "before_cursor_execute", collect)


def test_stored_revisions_are_those_of_live_tasks(store: Store, add: Add, now: datetime) -> None:
    add("a")
    add("a", latest=1)
    add("b", ttl_seconds=1)
    keys = [("default", "a", 1), ("default", "a", 2), ("default", "a", 3), ("default", "b", 1), ("other", "a", 1)]
    assert store.stored_revisions(keys, now=now) == {*keys[:2], keys[3]}
    assert store.stored_revisions(keys, now=now + timedelta(seconds=2)) == {*keys[:2]}
    assert store.stored_revisions([], now=now) == set()
