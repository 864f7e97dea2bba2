from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest

from app.store import Claim, DatasetRecord, IdempotentAnswer, Job, NewAnswer, Store
from innerloop.errors import (
    CheckpointNotFound,
    DatasetNotFound,
    IdempotencyInFlight,
    InnerloopError,
    InvalidRequest,
    JobNotFound,
    JobStateConflict,
    Overloaded,
    TooManyJobs,
)

AddJob = Callable[..., Job]
MakeClaim = Callable[..., Claim]
AddDataset = Callable[..., DatasetRecord]
ANSWER: NewAnswer[Job] = NewAnswer("/meta-train", "key", "hash", 202, lambda job: {"job_id": job.job_id})


def events(store: Store, job_id: str = "job-1") -> list[tuple[int, str, dict[str, Any]]]:
    return [(event.event_id, event.kind, event.data) for event in store.job_events("default", job_id)]


def test_new_job_is_queued_with_its_first_event(store: Store, add_job: AddJob, now: datetime) -> None:
    added = add_job(request={"shots": (1, 5)}, plan={"threads": 1}, progress={"iteration": 0})
    assert store.job("default", "job-1") == added
    assert (added.status, added.request, added.plan) == ("queued", {"shots": [1, 5]}, {"threads": 1})
    assert (added.created_at, added.started_at, added.finished_at, added.worker) == (now, None, None, None)
    assert (added.attempt, added.crashes, added.last_event, added.cancel_requested) == (0, 0, 1, False)
    assert events(store) == [(1, "status", {"status": "queued"})]


def test_job_belongs_to_its_tenant(store: Store, add_job: AddJob, now: datetime) -> None:
    add_job(tenant="a")
    assert store.jobs("b") == ([], None)
    for read in (store.job, store.job_events, store.checkpoint):
        with pytest.raises(JobNotFound):
            read("b", "job-1")
    for change in (store.request_cancel, store.resume_job):
        with pytest.raises(JobNotFound):
            change("b", "job-1", now=now)


def test_jobs_of_all_tenants_are_counted_by_status(store: Store, add_job: AddJob, now: datetime) -> None:
    none = {"queued": 0, "running": 0, "succeeded": 0, "failed": 0, "cancelled": 0}
    assert store.job_counts() == none
    for number, tenant in enumerate(("a", "a", "b")):
        add_job(f"job-{number}", tenant=tenant)
    store.request_cancel("b", "job-2", now=now)
    assert store.job_counts() == none | {"queued": 2, "cancelled": 1}


def test_commits_are_counted_and_nothing_else(store: Store, add_job: AddJob) -> None:
    before = store.num_commits
    add_job("job-1")
    store.check_writable()
    with pytest.raises(JobNotFound):
        store.request_cancel("default", "none", now=add_job("job-2").created_at)
    store.jobs("default")
    assert store.num_commits - before == 3


def test_answer_is_stored_with_its_job(store: Store, add_job: AddJob, now: datetime) -> None:
    add_job(idempotent=ANSWER)
    assert store.idempotent_answer("default", "/meta-train", "key") == IdempotentAnswer(
        "default", "/meta-train", "key", "hash", 202, {"job_id": "job-1"}, None, now
    )


def test_twenty_at_once_with_one_key_add_one_job(store: Store, add_job: AddJob) -> None:
    def send(i: int) -> bool:
        try:
            add_job(f"job-{i}", idempotent=ANSWER)
        except IdempotencyInFlight:
            return False
        return True

    with ThreadPoolExecutor(10) as pool:
        assert sum(pool.map(send, range(20))) == 1
    assert len(store.jobs("default")[0]) == 1


def test_used_key_counts_before_a_full_queue(add_job: AddJob) -> None:
    add_job(idempotent=ANSWER)
    with pytest.raises(IdempotencyInFlight):
        add_job("job-2", max_queued=1, idempotent=ANSWER)


def test_full_queue_takes_no_job_of_any_tenant(store: Store, add_job: AddJob, claim: MakeClaim) -> None:
    add_job("job-1")
    add_job("job-2")
    with pytest.raises(Overloaded, match="the queue of jobs is full") as refusal:
        add_job("job-3", tenant="other", max_queued=2, idempotent=ANSWER)
    assert refusal.value.retry_after_seconds
    assert store.idempotent_answer("other", "/meta-train", "key") is None
    claim()
    assert add_job("job-3", max_queued=2).status == "queued"


def test_a_tenant_that_has_filled_its_part_of_the_queue_leaves_the_rest_to_others(
    store: Store, add_job: AddJob, claim: MakeClaim, now: datetime
) -> None:
    for i in range(2):
        add_job(f"job-{i}", tenant="greedy", max_queued_of_tenant=2)
    with pytest.raises(TooManyJobs, match="2 of your jobs are queued") as refusal:
        add_job("job-2", tenant="greedy", max_queued_of_tenant=2, idempotent=ANSWER)
    assert refusal.value.retry_after_seconds
    assert store.idempotent_answer("greedy", "/meta-train", "key") is None
    assert add_job("job-3", tenant="other", max_queued_of_tenant=2).status == "queued"
    assert claim().job_id == "job-0"
    assert add_job("job-4", tenant="greedy", max_queued_of_tenant=2).status == "queued"


def test_resumed_jobs_have_no_more_room_in_the_queue_than_new_ones(
    store: Store, add_job: AddJob, now: datetime
) -> None:
    for i in range(3):
        add_job(f"job-{i}")
        store.request_cancel("default", f"job-{i}", now=now)
    store.resume_job("default", "job-0", now=now, max_queued_of_tenant=1)
    with pytest.raises(TooManyJobs, match="1 of your jobs"):
        store.resume_job("default", "job-1", now=now, max_queued_of_tenant=1)
    with pytest.raises(Overloaded, match="holds 1"):
        store.resume_job("default", "job-1", now=now, max_queued=1)
    assert store.job("default", "job-1").status == "cancelled"
    assert store.resume_job("default", "job-1", now=now, max_queued=2).status == "queued"


@pytest.mark.parametrize("refused", [Overloaded, TooManyJobs])
def test_threads_fill_the_queue_to_its_last_place_and_no_further(
    store: Store, add_job: AddJob, refused: type[InnerloopError]
) -> None:
    most = {"max_queued": 5} if refused is Overloaded else {"max_queued_of_tenant": 5}

    def add(i: int) -> bool:
        try:
            add_job(f"job-{i}", **most)
        except refused:
            return False
        return True

    with ThreadPoolExecutor(10) as pool:
        assert sum(pool.map(add, range(20))) == 5
    assert len(store.jobs("default")[0]) == 5


def test_job_needs_a_dataset_of_its_own_tenant(store: Store, add_job: AddJob, add_dataset: AddDataset) -> None:
    dataset = add_dataset(tenant="other")
    with pytest.raises(DatasetNotFound, match="voices"):
        add_job(dataset="voices", idempotent=ANSWER)
    assert store.jobs("default") == ([], None)
    assert store.idempotent_answer("default", "/meta-train", "key") is None
    assert add_job(tenant="other", dataset="voices").dataset_sha256 == dataset.sha256


def test_jobs_come_in_pages_newest_first_while_others_are_added(store: Store, add_job: AddJob, now: datetime) -> None:
    for i, second in enumerate([0, 1, 1, 2]):
        add_job(f"job-{i}", at=now + timedelta(seconds=second))
    first, cursor = store.jobs("default", limit=2)
    add_job("job-9", at=now + timedelta(seconds=9))
    rest, end = store.jobs("default", after=cursor, limit=2)
    assert [job.job_id for job in first + rest] == ["job-3", "job-2", "job-1", "job-0"]
    assert end is None
    assert store.jobs("default", limit=1)[0][0].job_id == "job-9"


def test_cursor_of_another_tenants_job_is_refused(store: Store, add_job: AddJob) -> None:
    add_job("a")
    add_job("b")
    _, cursor = store.jobs("default", limit=1)
    with pytest.raises(InvalidRequest, match="next"):
        store.jobs("other", after=cursor)


def test_events_are_read_on_from_a_number(store: Store, add_job: AddJob, claim: MakeClaim, now: datetime) -> None:
    add_job()
    held = claim()
    for iteration in range(1, 4):
        store.report_progress(held, {"iteration": iteration}, now=now, event=True)
    assert [event.event_id for event in store.job_events("default", "job-1", after=2, limit=2)] == [3, 4]
    assert [event.data for event in store.job_events("default", "job-1", after=4)] == [{"iteration": 3}]
    for beyond in (5, 2**70):
        assert store.job_events("default", "job-1", after=beyond) == []
    assert len(store.job_events("default", "job-1", after=-(2**70))) == 5


def test_checkpoint_that_was_not_written_is_not_found(store: Store, add_job: AddJob) -> None:
    add_job()
    with pytest.raises(CheckpointNotFound, match="job-1"):
        store.checkpoint("default", "job-1")


def bring(store: Store, claim: MakeClaim, status: str, now: datetime) -> None:
    """Bring the queued job-1 to a state."""
    if status == "cancelled":
        store.request_cancel("default", "job-1", now=now)
    elif status != "queued":
        held = claim()
        if status == "cancel requested":
            store.request_cancel("default", "job-1", now=now)
        elif status == "failed":
            store.end_job(held, "failed", {"code": "training-diverged"}, now=now)
        elif status == "succeeded":
            store.complete_job(held, "trained", {}, b"w", promote=False, expected_active=None, now=now)


CANCELLED = {
    "queued": ("cancelled", True),
    "running": ("running", True),
    "cancel requested": ("running", True),
    "succeeded": None,
    "failed": None,
    "cancelled": None,
}


@pytest.mark.parametrize(("status", "expected"), CANCELLED.items())
def test_cancel_in_each_state(
    store: Store,
    add_job: AddJob,
    claim: MakeClaim,
    now: datetime,
    status: str,
    expected: tuple[str, bool] | None,
) -> None:
    add_job()
    bring(store, claim, status, now)
    before = store.job("default", "job-1")
    if expected is None:
        with pytest.raises(JobStateConflict, match=f"got {status}"):
            store.request_cancel("default", "job-1", now=now)
        assert store.job("default", "job-1") == before
        return
    job = store.request_cancel("default", "job-1", now=now)
    assert (job.status, job.cancel_requested) == expected
    assert store.job("default", "job-1") == job
    if status == "cancel requested":
        assert job == before


def test_cancelled_job_ends_with_its_last_event(store: Store, add_job: AddJob, now: datetime) -> None:
    add_job()
    later = now + timedelta(seconds=1)
    assert store.request_cancel("default", "job-1", now=later).finished_at == later
    assert events(store)[1:] == [
        (2, "status", {"status": "cancelled"}),
        (3, "end", {"status": "cancelled", "model_version": None, "error": None}),
    ]
    poll = store.claim_job("worker", now=later, lease_seconds=30, max_crashes=2, crash_error={})
    assert poll is None


@pytest.mark.parametrize(
    ("status", "is_allowed"),
    [("queued", False), ("running", False), ("succeeded", False), ("failed", True), ("cancelled", True)],
)
def test_resume_in_each_state(
    store: Store, add_job: AddJob, claim: MakeClaim, now: datetime, status: str, is_allowed: bool
) -> None:
    add_job()
    bring(store, claim, status, now)
    before = store.job("default", "job-1")
    if not is_allowed:
        with pytest.raises(JobStateConflict, match=f"got {status}"):
            store.resume_job("default", "job-1", now=now)
        assert store.job("default", "job-1") == before
        return
    job = store.resume_job("default", "job-1", now=now)
    assert (job.status, job.error, job.finished_at, job.cancel_requested, job.crashes) == (
        "queued",
        None,
        None,
        False,
        0,
    )
    assert events(store)[-1] == (before.last_event + 1, "status", {"status": "queued"})
    assert claim().attempt == before.attempt + 1


def test_resumed_job_goes_on_from_its_checkpoint(
    store: Store, add_job: AddJob, claim: MakeClaim, now: datetime
) -> None:
    add_job()
    first = claim()
    store.save_checkpoint(first, 7, b"state", now=now)
    store.end_job(first, "cancelled", None, now=now)
    store.resume_job("default", "job-1", now=now)
    later = now + timedelta(hours=1)
    found = store.checkpoint_of(claim("worker-b", at=later))
    assert found is not None
    assert (found.iteration, found.attempt, found.data) == (7, 1, b"state")
    assert store.job("default", "job-1").started_at == now


def test_job_is_not_resumed_on_other_data(
    store: Store, add_job: AddJob, add_dataset: AddDataset, now: datetime
) -> None:
    add_dataset()
    add_job(dataset="voices")
    store.request_cancel("default", "job-1", now=now)
    store.delete_dataset("default", "voices")
    with pytest.raises(DatasetNotFound, match="voices"):
        store.resume_job("default", "job-1", now=now)
    add_dataset(data=b"others")
    with pytest.raises(DatasetNotFound, match="another has its name"):
        store.resume_job("default", "job-1", now=now)
    store.delete_dataset("default", "voices")
    add_dataset()
    assert store.resume_job("default", "job-1", now=now).status == "queued"


def test_what_is_kept_of_jobs_that_ended_long_ago_goes_and_the_jobs_stay(
    store: Store, add_job: AddJob, claim: MakeClaim, now: datetime
) -> None:
    for i in range(4):
        add_job(f"job-{i}", at=now + timedelta(seconds=i))
    for i in range(3):
        held = claim()
        store.save_checkpoint(held, 7, b"state", now=now)
        if i < 2:
            store.end_job(held, "failed", {"code": "x"}, now=now + timedelta(days=i))
    old = [store.job("default", f"job-{i}") for i in range(4)]
    before = now + timedelta(days=3)
    assert [store.purge_jobs(before=before, limit=1) for _ in range(3)] == [1, 1, 0]
    for i in range(2):
        assert store.job("default", f"job-{i}") == replace(old[i], is_purged=True)
        assert store.job_events("default", f"job-{i}") == []
        with pytest.raises(CheckpointNotFound, match="ended so long ago"):
            store.checkpoint("default", f"job-{i}")
    assert store.checkpoint("default", "job-2").data == b"state"
    for i in (2, 3):
        assert store.job("default", f"job-{i}") == old[i]
        assert store.job_events("default", f"job-{i}")


def test_job_that_ended_since_is_kept(store: Store, add_job: AddJob, now: datetime) -> None:
    add_job()
    store.request_cancel("default", "job-1", now=now)
    assert store.purge_jobs(before=now) == 0
    assert store.job_events("default", "job-1")


def test_job_whose_checkpoint_was_deleted_is_not_resumed(
    store: Store, add_job: AddJob, claim: MakeClaim, now: datetime
) -> None:
    add_job()
    held = claim()
    store.save_checkpoint(held, 7, b"state", now=now)
    store.end_job(held, "cancelled", None, now=now)
    store.purge_jobs(before=now + timedelta(seconds=1))
    before = store.job("default", "job-1")
    with pytest.raises(CheckpointNotFound, match="start a new job"):
        store.resume_job("default", "job-1", now=now)
    assert store.job("default", "job-1") == before


def test_job_that_is_resumed_in_time_is_not_purged(store: Store, add_job: AddJob, now: datetime) -> None:
    add_job()
    store.request_cancel("default", "job-1", now=now)
    store.resume_job("default", "job-1", now=now)
    assert store.purge_jobs(before=now + timedelta(days=99)) == 0
    assert len(store.job_events("default", "job-1")) == 4
