"""Late writes of a worker that lost its job change nothing at all."""

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

import pytest

from app.store import ANY_VERSION, Claim, Job, LeaseLost, Store

AddJob = Callable[..., Job]
MakeClaim = Callable[..., Claim]
Write = Callable[[Store, Claim, datetime], object]

WRITES: dict[str, Write] = {
    "renew_lease": lambda store, claim, now: store.renew_lease(claim, now=now, lease_seconds=30),
    "report_progress": lambda store, claim, now: store.report_progress(claim, {"iteration": 99}, now=now, event=True),
    "save_checkpoint": lambda store, claim, now: store.save_checkpoint(claim, 99, b"late", now=now),
    "checkpoint_of": lambda store, claim, now: store.checkpoint_of(claim),
    "release_job": lambda store, claim, now: store.release_job(
        claim, now=now, crashed=False, max_crashes=2, crash_error={}
    ),
    "release_job, crashed": lambda store, claim, now: store.release_job(
        claim, now=now, crashed=True, max_crashes=0, crash_error={}
    ),
    "end_job": lambda store, claim, now: store.end_job(claim, "failed", {"code": "late"}, now=now),
    "complete_job": lambda store, claim, now: store.complete_job(
        claim, "sinusoid", {}, b"late", promote=True, expected_active=ANY_VERSION, now=now
    ),
}


def claimed_over(store: Store, claim: MakeClaim, dead: Claim, now: datetime) -> None:
    claim("worker-b", at=now + timedelta(seconds=30))


def claimed_over_under_the_same_name(store: Store, claim: MakeClaim, dead: Claim, now: datetime) -> None:
    claim(dead.worker, at=now + timedelta(seconds=30))


def released(store: Store, claim: MakeClaim, dead: Claim, now: datetime) -> None:
    store.release_job(dead, now=now, crashed=False, max_crashes=2, crash_error={})


def cancelled(store: Store, claim: MakeClaim, dead: Claim, now: datetime) -> None:
    store.end_job(dead, "cancelled", None, now=now)


def resumed(store: Store, claim: MakeClaim, dead: Claim, now: datetime) -> None:
    cancelled(store, claim, dead, now)
    store.resume_job("default", "job-1", now=now)
    claim("worker-b")


def succeeded(store: Store, claim: MakeClaim, dead: Claim, now: datetime) -> None:
    store.complete_job(dead, "trained", {}, b"w", promote=False, expected_active=None, now=now)


LOSSES = [claimed_over, claimed_over_under_the_same_name, released, cancelled, resumed, succeeded]


@pytest.mark.parametrize("lose", LOSSES)
def test_every_write_of_a_dead_claim_changes_nothing(
    store: Store,
    add_job: AddJob,
    claim: MakeClaim,
    all_rows: Callable[[], dict[str, list[Any]]],
    now: datetime,
    lose: Callable[..., None],
) -> None:
    add_job()
    dead = claim()
    store.save_checkpoint(dead, 10, b"in time", now=now)
    lose(store, claim, dead, now)
    before = all_rows()
    for name, write in WRITES.items():
        with pytest.raises(LeaseLost, match="attempt 1 of worker-a at job job-1"):
            write(store, dead, now)
        assert all_rows() == before, name


@pytest.mark.parametrize("forged", [Claim("job-2", "worker-a", 1), Claim("job-1", "worker-b", 1)])
def test_claim_that_was_never_given_writes_nothing(
    store: Store,
    add_job: AddJob,
    claim: MakeClaim,
    all_rows: Callable[[], dict[str, list[Any]]],
    now: datetime,
    forged: Claim,
) -> None:
    add_job()
    claim()
    before = all_rows()
    for write in WRITES.values():
        with pytest.raises(LeaseLost):
            write(store, forged, now)
    assert all_rows() == before


@pytest.mark.parametrize("name", sorted(set(WRITES) - {"checkpoint_of"}))
def test_every_write_of_a_claim_that_holds_changes_something(
    store: Store,
    add_job: AddJob,
    claim: MakeClaim,
    all_rows: Callable[[], dict[str, list[Any]]],
    now: datetime,
    name: str,
) -> None:
    add_job()
    held = claim()
    before = all_rows()
    WRITES[name](store, held, now + timedelta(seconds=1))
    assert all_rows() != before
