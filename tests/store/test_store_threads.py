from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime

from app.store import NewRevision, Store
from innerloop.errors import RevisionConflict, TaskNotFound

NUM_THREADS = 32
MakeRevision = Callable[..., NewRevision]


def add_after_latest(store: Store, new: NewRevision, now: datetime) -> int:
    """Add a revision as callers do: read the latest, add, and read again after a conflict."""
    while True:
        try:
            latest = store.task(new.tenant, new.task_id, now=now).revision
        except TaskNotFound:
            latest = 0
        try:
            return store.add_revision(new, expected_latest=latest, keep_revisions=200, now=now).revision
        except RevisionConflict:
            continue


def test_threads_on_one_task_lose_no_number(
    store: Store, replica: Store, new_revision: MakeRevision, now: datetime
) -> None:
    def work(i: int) -> list[int]:
        of_thread = store if i % 2 else replica
        return [add_after_latest(of_thread, new_revision(weights=b"%d" % i), now) for _ in range(2)]

    with ThreadPoolExecutor(NUM_THREADS) as pool:
        numbers = [number for of_thread in pool.map(work, range(NUM_THREADS)) for number in of_thread]
    assert sorted(numbers) == list(range(1, 2 * NUM_THREADS + 1))
    assert store.task("default", "patient-17", now=now).revisions == 2 * NUM_THREADS


def test_threads_on_many_tasks_wait_for_each_other(
    store: Store, replica: Store, new_revision: MakeRevision, now: datetime
) -> None:
    def work(i: int) -> list[int]:
        of_thread = store if i % 2 else replica
        return [add_after_latest(of_thread, new_revision(f"task-{i}"), now) for _ in range(10)]

    with ThreadPoolExecutor(NUM_THREADS) as pool:
        assert list(pool.map(work, range(NUM_THREADS))) == [list(range(1, 11))] * NUM_THREADS
    assert len(store.tasks("default", now=now)[0]) == NUM_THREADS


def test_reader_sees_whole_revisions_while_others_write(
    store: Store, new_revision: MakeRevision, now: datetime
) -> None:
    def write(i: int) -> None:
        for _ in range(5):
            add_after_latest(store, new_revision(support=b"%d" % i, weights=b"%d" % i), now)

    def read(_: int) -> bool:
        latest = store.revision("default", "patient-17", now=now)
        support = store.revision_support("default", "patient-17", latest.revision, now=now)
        weights = store.revision_weights("default", "patient-17", latest.revision, now=now)
        return support == weights and len(support) + len(weights) == latest.bytes

    add_after_latest(store, new_revision(support=b"0", weights=b"0"), now)
    with ThreadPoolExecutor(NUM_THREADS) as pool:
        writes = [pool.submit(write, i) for i in range(4)]
        assert all(pool.map(read, range(200)))
        for done in writes:
            done.result()


def test_task_deleted_under_writers_goes_on_counting(store: Store, new_revision: MakeRevision, now: datetime) -> None:
    def delete(_: int) -> None:
        try:
            store.delete_task("default", "patient-17", now=now)
        except TaskNotFound:
            return

    with ThreadPoolExecutor(8) as pool:
        adds = [pool.submit(add_after_latest, store, new_revision(), now) for _ in range(40)]
        list(pool.map(delete, range(10)))
        assert sorted(done.result() for done in adds) == list(range(1, 41))
