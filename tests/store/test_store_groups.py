"""Additions of many callers in one transaction."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta
from time import monotonic, sleep
from typing import Any

import psycopg
import pytest

from app.store import KEEP, Addition, Keep, NewAnswer, NewRevision, Revision, Store
from innerloop.errors import (
    IdempotencyInFlight,
    RevisionConflict,
    RevisionNotFound,
    TaskNotFound,
    VersionNotFound,
)

MakeRevision = Callable[..., NewRevision]
Result = Revision | Exception
AddGroup = Callable[..., list[Result]]
AllRows = Callable[[], dict[str, list[tuple[Any, ...]]]]


@pytest.fixture
def addition(new_revision: MakeRevision) -> Callable[..., Addition]:
    """Make an addition; what is not named is as in an everyday call."""

    def make(
        task_id: str, latest: int = 0, ttl_seconds: float | Keep | None = KEEP, key: str | None = None, **changes: Any
    ) -> Addition:
        answer = None if key is None else answer_of(key)
        return Addition(new_revision(task_id, **changes), latest, ttl_seconds, answer)

    return make


@pytest.fixture
def add_group(store: Store, now: datetime) -> AddGroup:
    def add(*additions: Addition, keep: int = 20, at: datetime = now) -> list[Result]:
        return store.add_revisions(additions, keep_revisions=keep, now=at)

    return add


MakeAddition = Callable[..., Addition]


def answer_of(key: str) -> NewAnswer[Revision]:
    return NewAnswer("/adapt", key, "hash of the body", 201, lambda new: {"task": new.task_id, "number": new.revision})


def numbers(results: list[Result]) -> list[tuple[str, int] | type[Exception]]:
    """Return what each became: the task and number of a revision, or the kind of an error."""
    return [(one.task_id, one.revision) if isinstance(one, Revision) else type(one) for one in results]


def test_group_returns_each_revision_at_its_place(
    store: Store, add_group: AddGroup, addition: MakeAddition, now: datetime
) -> None:
    names = ["c", "a", "d", "b"]
    results = add_group(*(addition(name, weights=name.encode()) for name in names))
    assert numbers(results) == [(name, 1) for name in names]
    assert store.latest_revisions([("default", name, None) for name in names], now=now) == results
    assert store.weights_of([("default", name, 1) for name in names], now=now) == [name.encode() for name in names]


def test_empty_group_is_no_work(add_group: AddGroup) -> None:
    assert add_group() == []


def test_refused_additions_change_nothing_for_their_neighbours(
    store: Store, add_group: AddGroup, addition: MakeAddition, now: datetime
) -> None:
    add_group(addition("old", key="used"))
    group = [
        addition("a"),
        addition("old", latest=7),
        addition("b", model_version=9),
        addition("c", key="used"),
        addition("d", latest=1),
        addition("old", latest=1),
        addition("e", settings={"rate": float("nan")}),
        addition("f", key="new"),
    ]
    assert numbers(add_group(*group)) == [
        ("a", 1),
        RevisionConflict,
        VersionNotFound,
        IdempotencyInFlight,
        RevisionConflict,
        ("old", 2),
        ValueError,
        ("f", 1),
    ]
    tasks, _ = store.tasks("default", now=now)
    assert [(task.task_id, task.revision) for task in tasks] == [("a", 1), ("f", 1), ("old", 2)]


def test_refused_group_leaves_every_row_as_it_was(
    add_group: AddGroup, addition: MakeAddition, all_rows: AllRows, now: datetime
) -> None:
    add_group(addition("a", ttl_seconds=1, key="used"), addition("b"))
    before = all_rows()
    later = now + timedelta(seconds=2)
    refused = add_group(addition("a", latest=1), addition("b", key="used"), addition("c", latest=2), at=later)
    assert numbers(refused) == [RevisionConflict, IdempotencyInFlight, RevisionConflict]
    assert all_rows() == before


def test_second_addition_to_a_task_sees_the_first(
    store: Store, add_group: AddGroup, addition: MakeAddition, now: datetime
) -> None:
    group = [addition("a", weights=b"1"), addition("a"), addition("a", latest=1, weights=b"2", ttl_seconds=60)]
    assert numbers(add_group(*group)) == [("a", 1), RevisionConflict, ("a", 2)]
    assert store.weights_of([("default", "a", 1), ("default", "a", 2)], now=now) == [b"1", b"2"]
    found = store.revision("default", "a", 1, now=now)
    assert found.expires_at == now + timedelta(seconds=60)


def test_one_key_in_a_group_is_answered_once(store: Store, add_group: AddGroup, addition: MakeAddition) -> None:
    group = [addition("a", key="key"), addition("b", key="key"), addition("a", latest=1, key="key")]
    assert numbers(add_group(*group)) == [("a", 1), IdempotencyInFlight, IdempotencyInFlight]
    answer = store.idempotent_answer("default", "/adapt", "key")
    assert answer is not None
    assert (answer.answer, answer.task_id, answer.status) == ({"task": "a", "number": 1}, "a", 201)


def test_each_task_keeps_its_newest_revisions(
    store: Store, add_group: AddGroup, addition: MakeAddition, now: datetime
) -> None:
    add_group(*(addition("a", latest=latest) for latest in range(3)), addition("b"), keep=2)
    add_group(addition("a", latest=3), addition("b", latest=1), keep=2)
    kept = {name: store.revisions("default", name, now=now)[0] for name in ("a", "b")}
    assert {name: [one.revision for one in of_task] for name, of_task in kept.items()} == {"a": [4, 3], "b": [2, 1]}


def test_expired_task_begins_anew_under_its_next_number(
    store: Store, add_group: AddGroup, addition: MakeAddition, now: datetime
) -> None:
    add_group(addition("a", ttl_seconds=1, key="old"), addition("b", ttl_seconds=1))
    later = now + timedelta(seconds=1)
    group = [addition("a"), addition("c", key="old"), addition("b", latest=1)]
    assert numbers(add_group(*group, at=later)) == [("a", 2), ("c", 1), RevisionConflict]
    task = store.task("default", "a", now=later)
    assert (task.created_at, task.expires_at, task.revisions) == (later, None, 1)
    with pytest.raises(RevisionNotFound):
        store.revision("default", "a", 1, now=later)


def test_task_that_lives_for_no_time_is_gone_for_the_next_addition(
    store: Store, add_group: AddGroup, addition: MakeAddition, now: datetime
) -> None:
    group = [addition("a", ttl_seconds=0, key="key"), addition("a", key="key"), addition("a", key="other")]
    assert numbers(add_group(*group)) == [("a", 1), IdempotencyInFlight, ("a", 2)]
    assert [one.revision for one in store.revisions("default", "a", now=now)[0]] == [2]
    assert store.idempotent_answer("default", "/adapt", "key") is None


def test_fault_of_one_caller_stays_with_it(
    store: Store, add_group: AddGroup, addition: MakeAddition, now: datetime
) -> None:
    def fail(_: Revision) -> dict[str, object]:
        raise KeyError("a fault in the caller")

    broken = addition("b")._replace(idempotent=NewAnswer("/adapt", "key", "", 201, fail))
    assert numbers(add_group(addition("a"), broken, addition("c"))) == [("a", 1), KeyError, ("c", 1)]
    with pytest.raises(TaskNotFound):
        store.task("default", "b", now=now)
    assert store.idempotent_answer("default", "/adapt", "key") is None


@pytest.mark.parametrize("with_replica", [False, True])
def test_64_threads_of_groups_never_find_the_database_locked(
    store: Store, replica: Store, addition: MakeAddition, now: datetime, with_replica: bool
) -> None:
    def work(i: int) -> None:
        of_thread = replica if with_replica and i % 2 else store
        tasks = [f"task-{i}-{j}" for j in range(4)]
        for latest in range(3):
            group = [addition(task, latest) for task in tasks]
            results = of_thread.add_revisions(group, keep_revisions=2, now=now)
            assert numbers(results) == [(task, latest + 1) for task in tasks]
            heads = of_thread.heads([("default", task, None) for task in tasks], now=now)
            assert [head.revision for head in heads if not isinstance(head, Exception)] == [latest + 1] * 4

    with ThreadPoolExecutor(64) as pool:
        list(pool.map(work, range(64)))


def test_groups_over_the_same_tasks_wait_for_each_other(
    store: Store, replica: Store, addition: MakeAddition, now: datetime
) -> None:
    names = [f"task-{i}" for i in range(8)]
    added: list[Result] = []

    def work(i: int) -> None:
        of_thread = replica if i % 2 else store
        in_order = names if i % 3 else names[::-1]
        for _ in range(4):
            heads = of_thread.heads([("default", name, None) for name in in_order], now=now)
            latest = [0 if isinstance(head, Exception) else head.revision for head in heads]
            pairs = zip(in_order, latest, strict=True)
            group = [addition(name, number, key=f"{name}-{number}") for name, number in pairs]
            added.extend(of_thread.add_revisions(group, keep_revisions=1000, now=now))

    with ThreadPoolExecutor(16) as pool:
        list(pool.map(work, range(16)))
    kinds = {type(one) for one in added}
    assert kinds <= {Revision, RevisionConflict, IdempotencyInFlight}
    made = sorted(one for one in numbers(added) if isinstance(one, tuple))
    heads = {task.task_id: task.revision for task in store.tasks("default", now=now)[0]}
    assert made == sorted((name, number) for name in names for number in range(1, heads[name] + 1))


@pytest.mark.parametrize("url", ["postgresql"], indirect=True)
def test_deadlocked_group_is_added_one_by_one(
    store: Store, addition: MakeAddition, add_group: AddGroup, url: str, now: datetime
) -> None:
    add_group(addition("a"))
    group = [addition("a", latest=1), addition("b", key="key")]
    insert = "INSERT INTO idempotent_answers VALUES ('default', '/adapt', 'key', '', 201, NULL, now(), '{}')"
    with psycopg.connect(url) as other, ThreadPoolExecutor(1) as pool:
        other.execute("SET deadlock_timeout = '1h'")  # the group is the one to notice
        other.execute(insert)
        results = pool.submit(add_group, *group)
        wait_for_a_lock(url)
        other.execute("UPDATE tasks SET model = model WHERE task_id = 'a'")
        other.rollback()
        assert numbers(results.result(timeout=30)) == [("a", 2), ("b", 1)]


@pytest.mark.parametrize("url", ["postgresql"], indirect=True)
@pytest.mark.parametrize("num_additions", [1, 2])
def test_task_that_a_replica_makes_meanwhile_is_found(
    store: Store, addition: MakeAddition, add_group: AddGroup, url: str, num_additions: int
) -> None:
    group = [addition("a", key="key"), addition("b")][:num_additions]
    insert = "INSERT INTO tasks VALUES ('default', 'a', NULL, 0, 5, now(), now(), NULL)"
    with psycopg.connect(url) as other, ThreadPoolExecutor(1) as pool:
        other.execute(insert)
        results = pool.submit(add_group, *group)
        wait_for_a_lock(url)
        other.commit()
        assert numbers(results.result(timeout=30)) == [("a", 6), ("b", 1)][:num_additions]


def wait_for_a_lock(url: str) -> None:
    """Return when a connection waits for what another one holds."""
    waiting = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'"
    with psycopg.connect(url, autocommit=True) as connection:
        deadline = monotonic() + 20
        while connection.execute(waiting).fetchone() == (0,):
            assert monotonic() < deadline
            sleep(0.01)
