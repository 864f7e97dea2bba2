from collections.abc import Callable
from datetime import datetime, timedelta

import pytest

from app.store import ANY_VERSION, ActiveVersionChanged, Claim, Job, Store
from innerloop.errors import ModelNotFound

AddJob = Callable[..., Job]
MakeClaim = Callable[..., Claim]
CRASHED = {"code": "job-crashed"}
LEASE = timedelta(seconds=30)


def statuses(store: Store, job_id: str = "job-1") -> list[str]:
    return [event.data["status"] for event in store.job_events("default", job_id) if event.kind == "status"]


def poll(store: Store, now: datetime, max_crashes: int = 2) -> tuple[Job, Claim] | None:
    return store.claim_job("poller", now=now, lease_seconds=30, max_crashes=max_crashes, crash_error=CRASHED)


def test_claimed_job_runs(store: Store, add_job: AddJob, now: datetime) -> None:
    add_job()
    claimed = poll(store, now)
    assert claimed is not None
    job, claim = claimed
    assert claim == Claim("job-1", "poller", 1)
    assert (job.status, job.worker, job.attempt, job.crashes) == ("running", "poller", 1, 0)
    assert (job.started_at, job.lease_until) == (now, now + LEASE)
    assert job == store.job("default", "job-1")
    assert statuses(store) == ["queued", "running"]


def test_oldest_job_is_claimed_first(store: Store, add_job: AddJob, claim: MakeClaim, now: datetime) -> None:
    for i in (2, 0, 1):
        add_job(f"job-{i}", at=now + timedelta(seconds=i))
    assert [claim().job_id for _ in range(3)] == ["job-0", "job-1", "job-2"]
    assert poll(store, now) is None


def test_a_tenant_with_fewer_running_jobs_is_served_first_and_of_one_tenant_the_oldest_job(
    store: Store, add_job: AddJob, claim: MakeClaim, now: datetime
) -> None:
    for i in range(4):
        add_job(f"greedy-{i}", tenant="greedy", at=now + timedelta(seconds=i))
    for i in range(2):
        add_job(f"other-{i}", tenant="other", at=now + timedelta(seconds=10 + i))
    taken = [claim(f"worker-{i}", at=now + timedelta(seconds=20)).job_id for i in range(6)]
    assert taken == ["greedy-0", "other-0", "greedy-1", "other-1", "greedy-2", "greedy-3"]


def test_tenants_take_turns_at_a_worker_that_is_alone(
    store: Store, add_job: AddJob, claim: MakeClaim, now: datetime
) -> None:
    for i in range(3):
        add_job(f"greedy-{i}", tenant="greedy", at=now + timedelta(seconds=i))
    for i in range(2):
        add_job(f"other-{i}", tenant="other", at=now + timedelta(seconds=10 + i))
    taken = []
    for i in range(5):
        moment = now + timedelta(seconds=20 + i)
        held = claim(at=moment)
        store.end_job(held, "cancelled", None, now=moment)
        taken.append(held.job_id)
    assert taken == ["greedy-0", "other-0", "greedy-1", "other-1", "greedy-2"]


def test_a_job_whose_worker_died_does_not_count_as_running(
    store: Store, add_job: AddJob, claim: MakeClaim, now: datetime
) -> None:
    add_job("first", tenant="one")
    add_job("second", tenant="other", at=now + timedelta(seconds=1))
    assert claim().job_id == "first"
    later = now + LEASE
    assert claim("worker-b", at=later).job_id == "second"
    assert claim("worker-c", at=later).job_id == "first"
    add_job("third", tenant="one", at=later)
    add_job("fourth", tenant="other", at=later)
    much_later = later + LEASE
    store.renew_lease(Claim("second", "worker-b", 1), now=much_later, lease_seconds=30)
    assert claim("worker-d", at=much_later).job_id == "first"  # none of the tenant's runs any more


def test_job_is_claimed_over_when_its_lease_has_run_out(
    store: Store, add_job: AddJob, claim: MakeClaim, now: datetime
) -> None:
    add_job()
    claim()
    assert poll(store, now + timedelta(seconds=29.9)) is None
    claimed = poll(store, now + LEASE)
    assert claimed is not None
    job, _ = claimed
    assert (job.worker, job.attempt, job.crashes, job.started_at) == ("poller", 2, 1, now)


def test_renewed_lease_keeps_the_job(store: Store, add_job: AddJob, claim: MakeClaim, now: datetime) -> None:
    add_job()
    held = claim()
    assert store.renew_lease(held, now=now + timedelta(seconds=20), lease_seconds=30) is False
    assert poll(store, now + timedelta(seconds=49)) is None
    assert poll(store, now + timedelta(seconds=50)) is not None


def test_job_of_a_dead_worker_is_not_waited_for_until_a_clock_that_was_set_back_is_where_it_was(
    store: Store, add_job: AddJob, claim: MakeClaim, now: datetime
) -> None:
    add_job()
    claim()
    back = now - timedelta(hours=1)
    assert poll(store, back) is None  # its worker has as long as ever to renew
    assert store.job("default", "job-1").lease_until == back + LEASE
    assert poll(store, back + timedelta(seconds=29)) is None
    claimed = poll(store, back + LEASE)
    assert claimed is not None
    assert claimed[0].attempt == 2


def test_job_of_a_worker_that_lives_stays_with_it_when_the_clock_is_set_back(
    store: Store, add_job: AddJob, claim: MakeClaim, now: datetime
) -> None:
    add_job()
    held = claim()
    back = now - timedelta(hours=1)
    for seconds in range(0, 300, 10):
        moment = back + timedelta(seconds=seconds)
        assert poll(store, moment) is None
        store.renew_lease(held, now=moment, lease_seconds=30)
    assert store.job("default", "job-1").attempt == 1


def test_late_worker_keeps_a_job_that_nobody_took(
    store: Store, add_job: AddJob, claim: MakeClaim, now: datetime
) -> None:
    add_job()
    held = claim()
    later = now + timedelta(hours=1)
    store.renew_lease(held, now=later, lease_seconds=30)
    assert poll(store, later) is None


def test_job_that_crashes_too_often_fails_and_the_next_is_taken(
    store: Store, add_job: AddJob, claim: MakeClaim, now: datetime
) -> None:
    add_job("bad")
    for i in range(3):
        assert claim(at=now + i * LEASE).job_id == "bad"
    add_job("good", at=now + LEASE)
    assert claim(at=now + 3 * LEASE).job_id == "good"
    job = store.job("default", "bad")
    assert (job.status, job.error, job.finished_at, job.crashes) == ("failed", CRASHED, now + 3 * LEASE, 3)
    last = store.job_events("default", "bad")[-1]
    assert (last.kind, last.data) == ("end", {"status": "failed", "model_version": None, "error": CRASHED})


def test_progress_never_made_before_forgets_the_crashes(
    store: Store, add_job: AddJob, claim: MakeClaim, now: datetime
) -> None:
    add_job()
    store.report_progress(claim(), {"iteration": 50}, now=now, event=False)
    # The second attempt starts from an earlier checkpoint and gets as far as the first one got.
    second = claim(at=now + LEASE)
    for iteration in (40, 45, 50):
        store.report_progress(second, {"iteration": iteration}, now=now, event=False)
        assert store.job("default", "job-1").crashes == 1
    store.report_progress(second, {"iteration": 51}, now=now, event=False)
    assert store.job("default", "job-1").crashes == 0


def test_progress_is_an_event_only_when_told(store: Store, add_job: AddJob, claim: MakeClaim, now: datetime) -> None:
    add_job()
    held = claim()
    store.report_progress(held, {"iteration": 1}, now=now, event=False)
    store.report_progress(held, {"iteration": 2, "loss": None}, now=now, event=True)
    store.report_progress(held, {"iteration": 3}, now=now, event=False)
    assert store.job("default", "job-1").progress == {"iteration": 3}
    told = [event.data for event in store.job_events("default", "job-1") if event.kind == "progress"]
    assert told == [{"iteration": 2, "loss": None}]


def test_worker_learns_of_a_cancel_when_it_renews(
    store: Store, add_job: AddJob, claim: MakeClaim, now: datetime
) -> None:
    add_job()
    held = claim()
    store.request_cancel("default", "job-1", now=now)
    assert store.renew_lease(held, now=now, lease_seconds=30) is True
    assert store.end_job(held, "cancelled", None, now=now).status == "cancelled"


def test_job_to_be_cancelled_whose_worker_died_is_cancelled(
    store: Store, add_job: AddJob, claim: MakeClaim, now: datetime
) -> None:
    add_job()
    claim()
    store.request_cancel("default", "job-1", now=now)
    assert poll(store, now + LEASE) is None
    assert store.job("default", "job-1").status == "cancelled"
    assert store.job_events("default", "job-1")[-1].kind == "end"


def test_drained_job_is_queued_again_at_its_old_place(
    store: Store, add_job: AddJob, claim: MakeClaim, now: datetime
) -> None:
    add_job()
    held = claim()
    add_job("later", at=now + timedelta(seconds=1))
    job = store.release_job(held, now=now, crashed=False, max_crashes=0, crash_error=CRASHED)
    assert (job.status, job.worker, job.lease_until, job.crashes) == ("queued", None, None, 0)
    assert statuses(store) == ["queued", "running", "queued"]
    assert claim("worker-b") == Claim("job-1", "worker-b", 2)


def test_released_job_fails_after_one_crash_too_many(
    store: Store, add_job: AddJob, claim: MakeClaim, now: datetime
) -> None:
    add_job()
    once = store.release_job(claim(), now=now, crashed=True, max_crashes=1, crash_error=CRASHED)
    assert (once.status, once.crashes) == ("queued", 1)
    twice = store.release_job(claim(), now=now, crashed=True, max_crashes=1, crash_error=CRASHED)
    assert (twice.status, twice.crashes, twice.error) == ("failed", 2, CRASHED)


@pytest.mark.parametrize("crashed", [False, True])
def test_released_job_that_was_to_be_cancelled_is_cancelled(
    store: Store, add_job: AddJob, claim: MakeClaim, now: datetime, crashed: bool
) -> None:
    add_job()
    held = claim()
    store.request_cancel("default", "job-1", now=now)
    job = store.release_job(held, now=now, crashed=crashed, max_crashes=0, crash_error=CRASHED)
    assert (job.status, job.error) == ("cancelled", None)
    assert [event.kind for event in store.job_events("default", "job-1")][-2:] == ["status", "end"]


def test_failed_job_says_why(store: Store, add_job: AddJob, claim: MakeClaim, now: datetime) -> None:
    add_job()
    error = {"code": "training-diverged", "detail": "at iteration 7"}
    job = store.end_job(claim(), "failed", error, now=now)
    assert (job.status, job.error, job.finished_at, job.worker) == ("failed", error, now, None)
    assert store.job_events("default", "job-1")[-1].data["error"] == error


def test_completed_job_and_its_version_are_stored_together(
    store: Store, add_job: AddJob, claim: MakeClaim, now: datetime
) -> None:
    add_job()
    later = now + timedelta(minutes=1)
    job, version = store.complete_job(
        claim(), "trained", {"a": (1, 2)}, b"weights", promote=False, expected_active=None, now=later
    )
    assert (job.status, job.model_version, job.finished_at) == ("succeeded", 1, later)
    assert (version.card, version.created_at) == ({"a": [1, 2]}, later)
    assert store.model_version("trained", 1) == version
    assert store.model("trained").active_version is None
    assert store.model_weights("trained", 1) == b"weights"
    assert store.job("default", "job-1") == job
    last = store.job_events("default", "job-1")[-1]
    assert (last.kind, last.data) == ("end", {"status": "succeeded", "model_version": 1, "error": None})


@pytest.mark.parametrize(("promote", "active"), [(True, 2), (False, 1)])
def test_completed_job_promotes_when_told(
    store: Store, add_job: AddJob, claim: MakeClaim, now: datetime, promote: bool, active: int
) -> None:
    add_job()
    store.complete_job(claim(), "sinusoid", {}, b"new", promote=promote, expected_active=1, now=now)
    assert store.model("sinusoid").active_version == active


@pytest.mark.parametrize("promote", [True, False])
@pytest.mark.parametrize("expected", [2, None])
def test_nothing_is_stored_when_another_version_became_active(
    store: Store, add_job: AddJob, claim: MakeClaim, now: datetime, promote: bool, expected: int | None
) -> None:
    add_job()
    held = claim()
    before = store.job("default", "job-1")
    with pytest.raises(ActiveVersionChanged, match="got 1"):
        store.complete_job(held, "sinusoid", {}, b"new", promote=promote, expected_active=expected, now=now)
    with pytest.raises(ActiveVersionChanged, match="got None"):
        store.complete_job(held, "trained", {}, b"new", promote=promote, expected_active=1, now=now)
    assert store.job("default", "job-1") == before
    assert len(store.model("sinusoid").versions) == 1
    with pytest.raises(ModelNotFound):
        store.model("trained")
    store.complete_job(held, "sinusoid", {}, b"new", promote=True, expected_active=ANY_VERSION, now=now)
    assert store.model("sinusoid").active_version == 2
