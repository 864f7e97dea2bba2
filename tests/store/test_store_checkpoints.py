from collections.abc import Callable
from datetime import datetime, timedelta
from hashlib import sha256

from app.store import Checkpoint, Claim, Job, Store

AddJob = Callable[..., Job]
MakeClaim = Callable[..., Claim]


def test_checkpoint_comes_back_as_it_was_saved(store: Store, add_job: AddJob, claim: MakeClaim, now: datetime) -> None:
    add_job()
    held = claim()
    assert store.checkpoint_of(held) is None
    data = bytes(range(256)) * 1000
    store.save_checkpoint(held, 5, data, now=now)
    expected = Checkpoint("job-1", 1, 5, len(data), sha256(data).hexdigest(), now, data)
    assert store.checkpoint_of(held) == expected
    assert store.checkpoint("default", "job-1") == expected


def test_last_checkpoint_takes_the_place_of_the_former(
    store: Store, add_job: AddJob, claim: MakeClaim, now: datetime
) -> None:
    add_job()
    held = claim()
    later = now + timedelta(seconds=1)
    store.save_checkpoint(held, 5, b"first", now=now)
    store.save_checkpoint(held, 6, b"second", now=now)
    store.save_checkpoint(held, 6, b"the second again", now=later)
    found = store.checkpoint("default", "job-1")
    assert (found.iteration, found.data, found.bytes, found.created_at) == (6, b"the second again", 16, later)


def test_checkpoint_of_a_lower_iteration_is_not_taken(
    store: Store, add_job: AddJob, claim: MakeClaim, now: datetime
) -> None:
    add_job()
    held = claim()
    store.save_checkpoint(held, 6, b"further", now=now)
    before = store.checkpoint("default", "job-1")
    store.save_checkpoint(held, 5, b"less far", now=now)
    assert store.checkpoint("default", "job-1") == before


def test_next_attempt_finds_the_checkpoint_and_goes_on(
    store: Store, add_job: AddJob, claim: MakeClaim, now: datetime
) -> None:
    add_job()
    store.save_checkpoint(claim(), 5, b"of the first", now=now)
    second = claim("worker-b", at=now + timedelta(seconds=30))
    found = store.checkpoint_of(second)
    assert found is not None
    assert (found.attempt, found.data) == (1, b"of the first")
    store.save_checkpoint(second, 6, b"of the second", now=now)
    assert store.checkpoint("default", "job-1").attempt == 2


def test_checkpoint_stays_when_its_job_has_ended(
    store: Store, add_job: AddJob, claim: MakeClaim, now: datetime
) -> None:
    add_job()
    held = claim()
    store.save_checkpoint(held, 5, b"state", now=now)
    store.complete_job(held, "trained", {}, b"w", promote=False, expected_active=None, now=now)
    assert store.checkpoint("default", "job-1").data == b"state"
