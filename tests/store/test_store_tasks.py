from collections.abc import Callable
from datetime import UTC, datetime, timedelta, timezone

import pytest

from app.store import Revision, Store
from innerloop.errors import TaskNotFound

Add = Callable[..., Revision]


def test_task_shows_its_latest_revision_and_all_it_keeps(store: Store, add: Add, now: datetime) -> None:
    later = now + timedelta(seconds=5)
    add(support=b"12", weights=b"345", support_size=1)
    add(latest=1, support=b"1234", weights=b"567", support_size=2, classes=["a", "b"], at=later)
    task = store.task("default", "patient-17", now=later)
    assert (task.task_id, task.model, task.revision, task.revisions) == ("patient-17", "sinusoid", 2, 2)
    assert (task.support_size, task.classes, task.bytes) == (2, ["a", "b"], 12)
    assert (task.created_at, task.updated_at, task.expires_at) == (now, later, None)


def test_missing_task_is_not_found(store: Store, now: datetime) -> None:
    with pytest.raises(TaskNotFound):
        store.task("default", "missing", now=now)


def test_task_of_another_tenant_is_not_there(store: Store, add: Add, now: datetime) -> None:
    add(tenant="a")
    with pytest.raises(TaskNotFound):
        store.task("b", "patient-17", now=now)
    with pytest.raises(TaskNotFound):
        store.delete_task("b", "patient-17", now=now)
    assert store.tasks("b", now=now) == ([], None)
    assert add(tenant="b").revision == 1


def test_tasks_come_in_pages_by_id(store: Store, add: Add, now: datetime) -> None:
    ids = ["-", "0", "A", "B", "_", "a", "b"]
    for task_id in reversed(ids):
        add(task_id)
    found, cursor = [], None
    for _ in range(4):
        page, cursor = store.tasks("default", now=now, after=cursor, limit=2)
        found += [task.task_id for task in page]
    assert found == ids
    assert cursor is None


def test_tasks_of_one_model_are_listed_alone(store: Store, add: Add, now: datetime) -> None:
    store.add_model_version("other", {}, b"weights")
    add("a")
    add("b", model="other")
    assert [task.task_id for task in store.tasks("default", now=now, models=["other"])[0]] == ["b"]
    add("b", latest=1)
    assert [task.task_id for task in store.tasks("default", now=now, models=["sinusoid"])[0]] == ["a", "b"]


def test_expired_task_is_not_there(store: Store, add: Add, now: datetime) -> None:
    add(ttl_seconds=60)
    before, after = now + timedelta(seconds=59.9), now + timedelta(seconds=60)
    assert store.task("default", "patient-17", now=before).expires_at == after
    for operation in (store.task, store.revisions, store.revision, store.revision_support, store.delete_task):
        with pytest.raises(TaskNotFound):
            operation("default", "patient-17", now=after)
    with pytest.raises(TaskNotFound):
        store.revision_weights("default", "patient-17", 1, now=after)
    with pytest.raises(TaskNotFound):
        store.set_expiry("default", "patient-17", None, now=after)
    assert store.tasks("default", now=after) == ([], None)


def test_time_to_live_is_kept_unless_named(add: Add, now: datetime) -> None:
    expires_at = now + timedelta(seconds=60)
    assert add(ttl_seconds=60).expires_at == expires_at
    assert add(latest=1, at=now + timedelta(seconds=30)).expires_at == expires_at
    assert add(latest=2, ttl_seconds=None).expires_at is None
    assert add(latest=3, ttl_seconds=60).expires_at == expires_at


def test_expired_task_starts_anew_and_goes_on_counting(store: Store, add: Add, now: datetime) -> None:
    add(ttl_seconds=60)
    add(latest=1)
    later = now + timedelta(seconds=60)
    assert add(latest=0, at=later).revision == 3
    task = store.task("default", "patient-17", now=later)
    assert (task.revisions, task.created_at, task.expires_at) == (1, later, None)


def test_expiry_can_be_set_and_taken_back(store: Store, add: Add, now: datetime) -> None:
    add()
    expires_at = now + timedelta(days=1)
    store.set_expiry("default", "patient-17", expires_at, now=now)
    assert store.task("default", "patient-17", now=now).expires_at == expires_at
    store.set_expiry("default", "patient-17", None, now=now)
    assert store.task("default", "patient-17", now=expires_at).expires_at is None


def test_moments_come_back_in_utc_to_the_microsecond(store: Store, add: Add, now: datetime) -> None:
    in_zone = now.astimezone(timezone(timedelta(hours=-7)))
    add(at=in_zone)
    created_at = store.task("default", "patient-17", now=in_zone).created_at
    assert created_at == now
    assert created_at.tzinfo is UTC
