import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import datetime, timedelta

import pytest

from app.store import Claim, Job, LeaseLost, Store, open_store
from innerloop.errors import JobStateConflict

NUM_THREADS = 8
AddJob = Callable[..., Job]
MakeClaim = Callable[..., Claim]


@pytest.fixture
def replica(store: Store, url: str) -> Iterator[Store]:
    """A second store on the database of the first; to SQLite it is another process."""
    replica = open_store(url, wait_ms=20_000)
    yield replica
    replica.close()


def poll(store: Store, worker: str, now: datetime) -> Claim | None:
    claimed = store.claim_job(worker, now=now, lease_seconds=30, max_crashes=2, crash_error={})
    return None if claimed is None else claimed[1]


def test_workers_claim_every_job_once(store: Store, replica: Store, add_job: AddJob, now: datetime) -> None:
    for i in range(20):
        add_job(f"job-{i}")
    together = threading.Barrier(NUM_THREADS)

    def work(i: int) -> list[Claim]:
        together.wait()
        of_thread = store if i % 2 else replica
        claims: list[Claim] = []
        # A poll may find nothing while others hold what is left; what counts is that none is claimed twice.
        for _ in range(20):
            claim = poll(of_thread, f"worker-{i}", now)
            if claim is not None:
                claims.append(claim)
        return claims

    with ThreadPoolExecutor(NUM_THREADS) as pool:
        claims = [claim for of_thread in pool.map(work, range(NUM_THREADS)) for claim in of_thread]
    assert sorted(claim.job_id for claim in claims) == sorted(f"job-{i}" for i in range(20))
    assert {claim.attempt for claim in claims} == {1}


def test_one_of_two_takes_over_a_dead_workers_job(
    store: Store, replica: Store, add_job: AddJob, claim: MakeClaim, now: datetime
) -> None:
    add_job()
    for round_ in range(10):
        claim(at=now + timedelta(minutes=2 * round_), max_crashes=100)
        late = now + timedelta(minutes=2 * round_ + 1)
        together = threading.Barrier(2)

        def take(of_thread: Store, name: str, late: datetime = late, together: threading.Barrier = together) -> bool:
            together.wait()
            return of_thread.claim_job(name, now=late, lease_seconds=30, max_crashes=100, crash_error={}) is not None

        with ThreadPoolExecutor(2) as pool:
            assert sorted(pool.map(take, [store, replica], ["a", "b"])) == [False, True]
    assert store.job("default", "job-1").attempt == 20


def test_either_the_renewal_or_the_take_over_wins(
    store: Store, replica: Store, add_job: AddJob, claim: MakeClaim, now: datetime
) -> None:
    add_job()
    at = now
    held = claim()
    for _ in range(10):
        at += timedelta(seconds=30)
        together = threading.Barrier(2)

        def renew(held: Claim = held, at: datetime = at, together: threading.Barrier = together) -> bool:
            together.wait()
            try:
                store.renew_lease(held, now=at, lease_seconds=30)
            except LeaseLost:
                return False
            return True

        def take(at: datetime = at, together: threading.Barrier = together) -> Claim | None:
            together.wait()
            claimed = replica.claim_job("other", now=at, lease_seconds=30, max_crashes=100, crash_error={})
            return None if claimed is None else claimed[1]

        with ThreadPoolExecutor(2) as pool:
            renewed, taken = pool.submit(renew), pool.submit(take)
            new = taken.result()
            assert renewed.result() == (new is None)
        held = new or held


def test_event_numbers_have_no_gap_under_many_writers(
    store: Store, replica: Store, add_job: AddJob, claim: MakeClaim, now: datetime
) -> None:
    add_job()
    held = claim()

    def write(i: int) -> None:
        of_thread = store if i % 2 else replica
        for iteration in range(10):
            of_thread.report_progress(held, {"iteration": iteration, "writer": i}, now=now, event=True)

    with ThreadPoolExecutor(NUM_THREADS) as pool:
        list(pool.map(write, range(NUM_THREADS)))
    events = store.job_events("default", "job-1")
    assert [event.event_id for event in events] == list(range(1, 2 + 10 * NUM_THREADS + 1))
    assert store.job("default", "job-1").last_event == len(events)
    for writer in range(NUM_THREADS):
        told = [event.data["iteration"] for event in events if event.data.get("writer") == writer]
        assert told == list(range(10))


def test_workers_that_claim_at_once_take_from_each_tenant(
    store: Store, replica: Store, add_job: AddJob, now: datetime
) -> None:
    for turn in range(8):
        for i in range(4):
            add_job(f"greedy-{turn}-{i}", tenant="greedy", at=now)
        add_job(f"other-{turn}", tenant="other", at=now + timedelta(seconds=1))
        with ThreadPoolExecutor(2) as pool:
            claiming = [pool.submit(poll, of, "worker", now + timedelta(seconds=turn)) for of in (store, replica)]
            claims = [one.result() for one in claiming]
        assert {claim.job_id.split("-")[0] for claim in claims if claim} == {"greedy", "other"}
        for claim in claims:
            assert claim is not None
            store.end_job(claim, "cancelled", None, now=now)
        for i in range(4):
            with suppress(JobStateConflict):
                store.request_cancel("greedy", f"greedy-{turn}-{i}", now=now)


def test_cancel_beside_a_claim_is_never_lost(store: Store, replica: Store, add_job: AddJob, now: datetime) -> None:
    for i in range(20):
        job_id = f"job-{i}"
        add_job(job_id)
        with ThreadPoolExecutor(2) as pool:
            claiming = pool.submit(poll, replica, "worker", now)
            cancelling = pool.submit(store.request_cancel, "default", job_id, now=now)
            claim, cancelled = claiming.result(), cancelling.result()
        if claim is None:
            assert cancelled.status == "cancelled"
            continue
        assert store.renew_lease(claim, now=now, lease_seconds=30) is True
        store.end_job(claim, "cancelled", None, now=now)


def test_cancel_beside_the_end_of_a_job_has_one_outcome(
    store: Store, replica: Store, add_job: AddJob, claim: MakeClaim, now: datetime
) -> None:
    def cancel(job_id: str) -> bool:
        try:
            store.request_cancel("default", job_id, now=now)
        except JobStateConflict:
            return False
        return True

    for i in range(10):
        add_job(f"job-{i}")
        held = claim()
        with ThreadPoolExecutor(2) as pool:
            cancelling = pool.submit(cancel, held.job_id)
            pool.submit(replica.end_job, held, "failed", {"code": "x"}, now=now).result()
            was_in_time = cancelling.result()
        job = store.job("default", held.job_id)
        assert (job.status, job.cancel_requested) == ("failed", was_in_time)
