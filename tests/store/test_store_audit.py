from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

import pytest

from app.store import AUDIT_ACTIONS, Addition, NewRevision, Note, Revision, Store
from innerloop.errors import InvalidRequest, RevisionConflict, TaskNotFound

Add = Callable[..., Revision]
MakeRevision = Callable[..., NewRevision]


def told(store: Store, tenant: str = "default", **options: Any) -> list[tuple[str, str, int | None]]:
    return [(one.action, one.task_id, one.revision) for one in store.audit(tenant, **options)[0]]


def test_a_new_revision_is_noted_with_it(store: Store, new_revision: MakeRevision, now: datetime) -> None:
    note = Note("adapt", "key-1", "request-1")
    store.add_revisions([Addition(new_revision(), 0, note=note)], keep_revisions=20, now=now)
    ((_, *entry),) = store.audit("default")[0]
    assert entry == [now, "default", "key-1", "adapt", "patient-17", 1, "request-1"]


def test_what_is_refused_is_not_noted(store: Store, new_revision: MakeRevision, now: datetime) -> None:
    additions = [
        Addition(new_revision("a"), 5, note=Note("adapt")),
        Addition(new_revision("b"), 0, note=Note("adapt")),
        Addition(new_revision("c", model_version=9), 0, note=Note("adapt")),
    ]
    results = store.add_revisions(additions, keep_revisions=20, now=now)
    assert isinstance(results[0], RevisionConflict)
    assert told(store) == [("adapt", "b", 1)]
    with pytest.raises(TaskNotFound):
        store.delete_task("default", "none", now=now, note=Note("delete"))
    assert len(told(store)) == 1


def test_what_nobody_notes_leaves_nothing(store: Store, add: Add, now: datetime) -> None:
    add()
    store.delete_task("default", "patient-17", now=now)
    assert told(store) == []


def test_entries_outlive_the_task_newest_first(store: Store, new_revision: MakeRevision, now: datetime) -> None:
    for latest, action in enumerate(("adapt", "append", "append")):
        addition = Addition(new_revision(), latest, note=Note(action))  # type: ignore[arg-type]
        store.add_revisions([addition], keep_revisions=20, now=now)  # all at the same moment
    store.add_audit("default", "patient-17", 2, Note("download-support"), now=now)
    addition = Addition(new_revision(), 3, replaces_all=True, note=Note("remove-row"))
    store.add_revisions([addition], keep_revisions=20, now=now)
    store.delete_task("default", "patient-17", now=now, note=Note("delete", "k"))
    actions = ["delete", "remove-row", "download-support", "append", "append", "adapt"]
    assert [action for action, _, _ in told(store)] == actions
    assert [revision for _, _, revision in told(store)] == [4, 4, 2, 3, 2, 1]


def test_what_expires_is_noted_when_it_goes(store: Store, add: Add, now: datetime) -> None:
    add("purged", ttl_seconds=60)
    add("again", ttl_seconds=60)
    later = now + timedelta(seconds=60)
    add("again", at=later)
    assert told(store) == [("expire", "again", 1)]
    assert store.purge_expired(now=later) == 1
    assert told(store) == [("expire", "purged", 1), ("expire", "again", 1)]
    assert {entry.key_id for entry in store.audit("default")[0]} == {None}


def test_a_new_time_to_live_is_noted_and_one_that_changes_nothing_is_not(store: Store, add: Add, now: datetime) -> None:
    add("t")
    note = Note("set-ttl", "key", "request")
    for expires_at in (None, now + timedelta(seconds=60), now + timedelta(seconds=60), None):
        store.set_expiry("default", "t", expires_at, now=now, note=note)
    assert told(store) == [("set-ttl", "t", 1)] * 2
    assert {(one.key_id, one.request_id) for one in store.audit("default")[0]} == {("key", "request")}
    with pytest.raises(TaskNotFound):
        store.set_expiry("default", "other", None, now=now, note=note)
    assert len(told(store)) == 2


def test_a_tenant_sees_its_own_entries_alone(store: Store, now: datetime) -> None:
    for tenant in ("x", "y"):
        store.add_audit(tenant, "same", 1, Note("download-weights"), now=now)
    assert told(store, "x") == told(store, "y") == [("download-weights", "same", 1)]
    assert told(store, "default") == told(store, "x", task_id="other") == []


def test_pages_follow_each_other(store: Store, now: datetime) -> None:
    for i in range(7):
        at = now + timedelta(seconds=i)
        store.add_audit("default", f"t{i % 2}", i, Note("download-weights"), now=at)
    found, cursor = [], None
    while True:
        rows, cursor = store.audit("default", after=cursor, limit=3)
        found += [row.revision for row in rows]
        if cursor is None:
            break
    assert found == [6, 5, 4, 3, 2, 1, 0]
    assert [entry.revision for entry in store.audit("default", task_id="t0")[0]] == [6, 4, 2, 0]
    for after in ("x", "dGFza3M6YQ=="):
        with pytest.raises(InvalidRequest):
            store.audit("default", after=after)
    with pytest.raises(InvalidRequest):
        store.audit("default", limit=0)


def test_old_entries_go(store: Store, now: datetime) -> None:
    for days in range(5):
        store.add_audit("default", "t", days, Note("download-weights"), now=now + timedelta(days=days))
    before = now + timedelta(days=3)
    assert [store.purge_audit(before=before, limit=2) for _ in range(3)] == [2, 1, 0]
    assert [entry.revision for entry in store.audit("default")[0]] == [4, 3]


def test_every_action_can_be_noted(store: Store, now: datetime) -> None:
    for action in AUDIT_ACTIONS:
        store.add_audit("default", "t", None, Note(action), now=now)
    assert [action for action, _, _ in told(store)] == [*reversed(AUDIT_ACTIONS)]
