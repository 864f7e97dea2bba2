from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import datetime, timedelta

import pytest

from app.store import IdempotentAnswer, NewAnswer, Revision, Store, open_store
from innerloop.errors import IdempotencyInFlight, RevisionConflict, TaskNotFound

Add = Callable[..., Revision]


def answer(key: str = "key") -> NewAnswer[Revision]:
    def answer_of(revision: Revision) -> dict[str, object]:
        return {"revision": revision.revision, "at": revision.created_at.isoformat()}

    return NewAnswer("/adapt", key, "hash of the body", 201, answer_of)


def test_answer_is_stored_with_its_revision(store: Store, add: Add, now: datetime) -> None:
    add(idempotent=answer())
    assert store.idempotent_answer("default", "/adapt", "key") == IdempotentAnswer(
        tenant="default",
        route="/adapt",
        key="key",
        body_sha256="hash of the body",
        status=201,
        answer={"revision": 1, "at": now.isoformat()},
        task_id="patient-17",
        created_at=now,
    )


def test_answer_survives_reopening(store: Store, add: Add, url: str) -> None:
    add(idempotent=answer())
    reopened = open_store(url)
    assert reopened.idempotent_answer("default", "/adapt", "key") is not None
    reopened.close()


def test_answer_belongs_to_tenant_route_and_key(store: Store, add: Add) -> None:
    add(idempotent=answer())
    assert store.idempotent_answer("other", "/adapt", "key") is None
    assert store.idempotent_answer("default", "/meta-train", "key") is None
    assert store.idempotent_answer("default", "/adapt", "other") is None
    add(tenant="other", idempotent=answer())


def test_second_use_of_a_key_adds_no_revision(store: Store, add: Add, now: datetime) -> None:
    add(idempotent=answer())
    with pytest.raises(IdempotencyInFlight):
        add(latest=1, idempotent=answer())
    with pytest.raises(IdempotencyInFlight):
        add("new-task", idempotent=answer())
    assert store.task("default", "patient-17", now=now).revision == 1
    with pytest.raises(TaskNotFound):
        store.task("default", "new-task", now=now)


def test_used_key_counts_before_the_conflict(add: Add) -> None:
    add(idempotent=answer())
    with pytest.raises(IdempotencyInFlight):
        add(latest=0, idempotent=answer())


def test_conflict_stores_no_answer(store: Store, add: Add) -> None:
    with pytest.raises(RevisionConflict):
        add(latest=7, idempotent=answer())
    assert store.idempotent_answer("default", "/adapt", "key") is None


@pytest.mark.parametrize("same_task", [True, False])
def test_twenty_at_once_with_one_key_add_one_revision(store: Store, add: Add, now: datetime, same_task: bool) -> None:
    def send(i: int) -> bool:
        try:
            add("task" if same_task else f"task-{i}", idempotent=answer())
        except IdempotencyInFlight:
            return False
        return True

    with ThreadPoolExecutor(20) as pool:
        assert sum(pool.map(send, range(20))) == 1
    tasks, _ = store.tasks("default", now=now)
    assert [task.revision for task in tasks] == [1]


def test_an_answer_stays_when_its_revision_is_no_longer_kept(store: Store, add: Add) -> None:
    add(idempotent=answer("first"), keep=1)
    add(latest=1, keep=1)
    assert store.idempotent_answer("default", "/adapt", "first") is not None
    with pytest.raises(IdempotencyInFlight):
        add(latest=2, idempotent=answer("first"), keep=1)


def test_answer_without_a_revision_is_stored_once(store: Store, now: datetime) -> None:
    cached = IdempotentAnswer("default", "/adapt", "key", "hash", 200, {"cached": True}, None, now)
    store.add_idempotent_answer(cached)
    assert store.idempotent_answer("default", "/adapt", "key") == cached
    with pytest.raises(IdempotencyInFlight):
        store.add_idempotent_answer(replace(cached, body_sha256="other"))


def test_an_answer_about_a_task_is_not_stored_once_the_task_has_changed(store: Store, add: Add, now: datetime) -> None:
    cached = IdempotentAnswer("default", "/adapt", "key", "hash", 200, {"revision": 1}, "patient-17", now)
    with pytest.raises(TaskNotFound):
        store.add_idempotent_answer(cached, latest=1)
    add(ttl_seconds=60)
    store.add_idempotent_answer(cached, latest=1)
    assert store.idempotent_answer("default", "/adapt", "key") == cached
    late = replace(cached, key="another", created_at=now + timedelta(seconds=60))
    with pytest.raises(TaskNotFound):
        store.add_idempotent_answer(late, latest=1)
    add(latest=1)
    with pytest.raises(RevisionConflict):
        store.add_idempotent_answer(replace(cached, key="another"), latest=1)
    store.delete_task("default", "patient-17", now=now)
    with pytest.raises(TaskNotFound):
        store.add_idempotent_answer(replace(cached, key="another"), latest=2)
    assert [store.idempotent_answer("default", "/adapt", key) for key in ("key", "another")] == [None, None]


def test_purge_deletes_old_answers_alone(store: Store, add: Add, now: datetime) -> None:
    add(idempotent=answer("old"))
    add(latest=1, at=now + timedelta(seconds=1), idempotent=answer("young"))
    assert store.purge_answers(before=now + timedelta(seconds=1)) == 1
    assert store.idempotent_answer("default", "/adapt", "old") is None
    assert store.idempotent_answer("default", "/adapt", "young") is not None
