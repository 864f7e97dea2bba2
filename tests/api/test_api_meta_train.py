"""Claims about POST /meta-train and the jobs it makes."""

from collections.abc import Iterator
from typing import Any
from uuid import uuid4

import httpx
import pytest

from app.training.state import state_of
from app.trees import sha256
from innerloop.wire import JobInfo, MetaTrainRequest, Page
from tests.api.asking import JSON, SUPPORT, adapt, outputs, problem_of
from tests.api.service import Service
from tests.api.tiny_jobs import TINY, cancel, new_name, running, start, train
from tests.serving.jobs import REQUEST, check_events, end_of, events_of, job_of, wait_for

JOB_FIELDS = {
    "job_id", "status", "name", "model_version", "progress", "created_at", "started_at", "finished_at", "error",
    "request",
}  # fmt: skip
PROGRESS_FIELDS = {
    "iteration", "iterations", "meta_loss", "validation_loss", "validation_accuracy", "tasks_per_second", "eta_seconds",
}  # fmt: skip
MINIMAL = {
    "name": "minimal",
    "learner": {"kind": "maml"},
    "network": {"kind": "mlp"},
    "tasks": {"kind": "sinusoid"},
}


@pytest.fixture(scope="module")
def done(service: Service) -> JobInfo:
    """A job that succeeded."""
    return train(service.http)


@pytest.fixture(scope="module")
def busy(service: Service, done: JobInfo) -> Iterator[JobInfo]:
    """A job that runs while this module's tests do; what is queued meanwhile stays queued."""
    job = running(service.http)
    yield job
    cancel(service.http, job)


@pytest.fixture
def queued(http: httpx.Client, busy: JobInfo) -> Iterator[JobInfo]:
    """A job that waits behind another."""
    job = start(http)
    yield job
    cancel(http, job)


def test_accepted_job_has_every_field_of_the_contract(http: httpx.Client, busy: JobInfo) -> None:
    answer = http.post("/meta-train", json=MINIMAL)
    assert answer.status_code == 202
    shown = answer.json()
    assert shown.keys() >= JOB_FIELDS
    assert shown["progress"].keys() >= PROGRESS_FIELDS
    assert answer.headers["Location"] == f"/meta-train/{shown['job_id']}"
    nothing_yet = dict.fromkeys(PROGRESS_FIELDS) | {"iteration": 0, "iterations": 20_000}
    assert shown["progress"] == nothing_yet
    assert (shown["status"], shown["name"]) == ("queued", "minimal")
    later = ("model_version", "started_at", "finished_at", "error")
    assert [shown[name] for name in later] == [None] * 4
    assert http.get(answer.headers["Location"]).json() == shown
    cancel(http, JobInfo.model_validate(shown))


def test_request_is_shown_with_its_defaults(queued: JobInfo, done: JobInfo) -> None:
    for job in (queued, done):
        assert job.request.keys() == MetaTrainRequest.model_fields.keys()
        asked = {**REQUEST, **TINY, "name": job.name}
        assert {name: job.request[name] for name in asked if name != "tasks"} == {
            name: value for name, value in asked.items() if name != "tasks"
        }
        assert job.request["tasks"].items() >= REQUEST["tasks"].items()
        defaults = {"optimizer": "adam", "meta_learning_rate": 0.001, "promote": "if_better", "patience": None}
        assert job.request.items() >= defaults.items()
    assert MetaTrainRequest.model_validate(done.request).model_dump(mode="json") == done.request


def test_job_that_succeeded_tells_how_it_ended(done: JobInfo) -> None:
    assert (done.status, done.model_version, done.error) == ("succeeded", 1, None)
    assert done.started_at is not None
    assert done.finished_at is not None
    assert done.created_at <= done.started_at <= done.finished_at
    progress = done.progress
    assert (progress.iteration, progress.iterations, progress.eta_seconds) == (20, 20, None)
    assert progress.meta_loss is not None
    assert progress.meta_loss > 0.0
    assert progress.validation_loss is not None
    assert progress.validation_loss > 0.0
    assert progress.validation_accuracy is None


def test_first_progress_comes_soon(busy: JobInfo) -> None:
    assert busy.started_at is not None
    assert (busy.started_at - busy.created_at).total_seconds() < 20.0
    assert busy.progress.iteration >= 1


def test_running_job_tells_how_fast_it_is(http: httpx.Client, busy: JobInfo) -> None:
    job = wait_for(http, busy.job_id, lambda job: job.progress.validation_loss is not None)
    assert job.status == "running"
    assert job.progress.tasks_per_second is not None
    assert job.progress.eta_seconds is not None
    expected = (job.progress.iterations - job.progress.iteration) / job.progress.tasks_per_second
    assert job.progress.eta_seconds == pytest.approx(expected, rel=0.01)


def test_model_of_a_job_is_there_with_where_it_came_from(http: httpx.Client, done: JobInfo) -> None:
    model = http.get(f"/models/{done.name}").json()
    assert model["active_version"] == 1
    (version,) = model["versions"]
    assert version["provenance"]["job_id"] == done.job_id
    assert version["provenance"]["request"]["tasks"].items() >= REQUEST["tasks"].items()
    assert (version["learner"]["kind"], version["network"]) == ("maml", TINY["network"])
    assert (version["max_steps"], version["input"]["shape"], version["output"]["shape"]) == (100, [1], [1])
    tables = version["metrics"]["test"]["by_shots_and_step"]
    assert tables["5"]["1"]["loss"]["mean"] > 0.0


def test_model_of_a_job_adapts_and_predicts(http: httpx.Client, done: JobInfo) -> None:
    answer = adapt(http, model=done.name)
    assert (answer.model, answer.model_version) == (done.name, 1)
    assert answer.support_loss[-1] is not None
    predicted = outputs(http, task_id=answer.task_id, inputs=[[0.5], [-2.0]])
    assert outputs(http, model=f"{done.name}@1", support=SUPPORT, inputs=[[0.5]])
    assert len(predicted) == 2


def test_jobs_are_listed_newest_first_in_pages(http: httpx.Client, busy: JobInfo, done: JobInfo) -> None:
    made = [start(http) for _ in range(3)]
    seen: list[JobInfo] = []
    cursor: str | None = None
    while True:
        params = {"limit": "2", **({"after": cursor} if cursor else {})}
        page = Page[JobInfo].model_validate_json(http.get("/meta-train", params=params).content)
        assert page.has_more == (page.next is not None)
        assert len(page.data) <= 2
        seen += page.data
        if len(seen) == 2:  # one that comes meanwhile moves no page
            made.append(start(http))
        cursor = page.next
        if cursor is None:
            break
    ids = [job.job_id for job in seen]
    assert len(set(ids)) == len(ids)
    assert ids[:3] == [job.job_id for job in reversed(made[:3])]
    assert made[3].job_id not in ids
    assert {busy.job_id, done.job_id} < set(ids)
    assert [job.created_at for job in seen] == sorted((job.created_at for job in seen), reverse=True)
    cancel(http, *made)


@pytest.mark.parametrize("query", ["limit=0", "limit=501", "limit=x", "after=nonsense", "after="])
def test_wrong_pages_are_refused(http: httpx.Client, query: str) -> None:
    answer = http.get(f"/meta-train?{query}")
    problem_of(answer, 422, "invalid-request")


OF_A_JOB = [("GET", ""), ("GET", "/events"), ("GET", "/checkpoint"), ("POST", "/cancel"), ("POST", "/resume")]


@pytest.mark.parametrize(("method", "path"), OF_A_JOB)
def test_jobs_that_are_not_there_are_not_found(http: httpx.Client, method: str, path: str) -> None:
    problem = problem_of(http.request(method, f"/meta-train/{uuid4().hex}{path}"), 404, "job-not-found")
    assert "GET /meta-train" in problem.detail


@pytest.mark.parametrize(("method", "path"), OF_A_JOB)
@pytest.mark.parametrize("job_id", ["a.b", "x" * 65, "%00", "a%20b", "é"])
def test_ids_that_are_none_are_refused(http: httpx.Client, method: str, path: str, job_id: str) -> None:
    problem_of(http.request(method, f"/meta-train/{job_id}{path}"), 422, "invalid-id")


def test_the_same_key_makes_one_job(http: httpx.Client, busy: JobInfo) -> None:
    name, key = new_name(), {"Idempotency-Key": str(uuid4())}
    first, again = (http.post("/meta-train", json={**MINIMAL, "name": name}, headers=key) for _ in range(2))
    assert (first.status_code, again.status_code) == (202, 202)
    assert first.json() == again.json()
    assert first.headers["Location"] == again.headers["Location"]
    assert "Idempotency-Replayed" not in first.headers
    assert again.headers["Idempotency-Replayed"] == "true"
    cancel(http, JobInfo.model_validate(first.json()))
    # The answer of then, not the job of now: the same key tells what was accepted.
    late = http.post("/meta-train", json={**MINIMAL, "name": name}, headers=key)
    assert late.json() == first.json()
    other = http.post("/meta-train", json={**MINIMAL, "name": name, "seed": 1}, headers=key)
    problem_of(other, 422, "idempotency-key-reused")
    listed = [job["name"] for job in http.get("/meta-train?limit=500").json()["data"]]
    assert listed.count(name) == 1


def test_a_key_belongs_to_its_route(http: httpx.Client, busy: JobInfo) -> None:
    key = {"Idempotency-Key": str(uuid4())}
    adapt(http, headers=key)
    answer = http.post("/meta-train", json=MINIMAL, headers=key)
    assert answer.status_code == 202
    cancel(http, JobInfo.model_validate_json(answer.content))


def test_a_refused_request_leaves_its_key_free(http: httpx.Client, busy: JobInfo) -> None:
    key = {"Idempotency-Key": str(uuid4())}
    problem_of(http.post("/meta-train", json={**MINIMAL, "iterations": 0}, headers=key), 422, "invalid-request")
    answer = http.post("/meta-train", json=MINIMAL, headers=key)
    assert answer.status_code == 202
    cancel(http, JobInfo.model_validate_json(answer.content))


def test_queued_job_is_cancelled_at_once(http: httpx.Client, queued: JobInfo) -> None:
    answer = http.post(f"/meta-train/{queued.job_id}/cancel")
    assert answer.status_code == 202
    assert answer.json()["status"] == "cancelled"
    job = job_of(http, queued.job_id)
    assert (job.status, job.started_at, job.error) == ("cancelled", None, None)
    assert job.finished_at is not None
    check_events(events_of(http, queued.job_id))


def test_cancelled_job_that_never_ran_has_no_checkpoint_and_can_be_resumed(http: httpx.Client, queued: JobInfo) -> None:
    cancel(http, queued)
    problem_of(http.get(f"/meta-train/{queued.job_id}/checkpoint"), 404, "checkpoint-not-found")
    answer = http.post(f"/meta-train/{queued.job_id}/resume")
    assert answer.status_code == 202
    assert (answer.json()["status"], answer.json()["finished_at"]) == ("queued", None)
    problem_of(http.post(f"/meta-train/{queued.job_id}/resume"), 409, "job-state")


def test_only_what_has_not_ended_can_be_cancelled(http: httpx.Client, queued: JobInfo, done: JobInfo) -> None:
    cancel(http, queued)
    for job in (queued, done):
        before = job_of(http, job.job_id)
        problem = problem_of(http.post(f"/meta-train/{job.job_id}/cancel"), 409, "job-state")
        assert before.status in problem.detail
        assert job_of(http, job.job_id) == before


def test_only_what_failed_or_was_cancelled_can_be_resumed(
    http: httpx.Client, queued: JobInfo, busy: JobInfo, done: JobInfo
) -> None:
    for job, status in ((queued, "queued"), (busy, "running"), (done, "succeeded")):
        problem = problem_of(http.post(f"/meta-train/{job.job_id}/resume"), 409, "job-state")
        assert status in problem.detail
        assert job_of(http, job.job_id).status == status


def test_checkpoint_of_a_running_job_is_a_file_of_its_state(http: httpx.Client, busy: JobInfo) -> None:
    reached = wait_for(http, busy.job_id, lambda job: job.progress.iteration > 200).progress.iteration
    answer = http.get(f"/meta-train/{busy.job_id}/checkpoint")
    assert answer.status_code == 200
    assert answer.headers["Content-Type"] == "application/vnd.safetensors"
    assert answer.headers["ETag"] == f'"{sha256(answer.content)}"'
    assert ".safetensors" in answer.headers["Content-Disposition"]
    state = state_of(answer.content)
    assert state.iteration % 200 == 0
    assert 200 <= state.iteration <= max(reached, job_of(http, busy.job_id).progress.iteration)


def test_running_job_is_cancelled_keeps_its_checkpoint_and_goes_on_from_there(
    http: httpx.Client, busy: JobInfo
) -> None:
    wait_for(http, busy.job_id, lambda job: job.progress.iteration > 200)
    assert http.post(f"/meta-train/{busy.job_id}/cancel").status_code == 202
    cancelled = end_of(http, busy.job_id)
    assert (cancelled.status, cancelled.model_version, cancelled.error) == ("cancelled", None, None)
    kept = state_of(http.get(f"/meta-train/{busy.job_id}/checkpoint").content)
    assert kept.iteration == cancelled.progress.iteration
    assert http.post(f"/meta-train/{busy.job_id}/resume").status_code == 202
    on = wait_for(http, busy.job_id, lambda job: job.progress.iteration > cancelled.progress.iteration)
    assert (on.status, on.finished_at) == ("running", None)
    assert on.created_at == cancelled.created_at
    problem_of(http.get(f"/models/{busy.name}"), 404, "model-not-found")


def test_body_of_cancel_and_resume_does_not_matter(http: httpx.Client, queued: JobInfo) -> None:
    for path, body in (("cancel", b"{}"), ("resume", b"not json")):
        answer = http.post(f"/meta-train/{queued.job_id}/{path}", content=body, headers=JSON)
        assert answer.status_code == 202, answer.text


@pytest.mark.parametrize("method", ["PUT", "PATCH", "DELETE"])
def test_other_methods_are_refused(http: httpx.Client, method: str) -> None:
    problem_of(http.request(method, "/meta-train"), 405, "method-not-allowed")


def test_service_goes_on_answering_beside_a_job(http: httpx.Client, busy: JobInfo) -> None:
    found: list[Any] = [adapt(http).revision for _ in range(5)]
    assert found == [1] * 5
    assert job_of(http, busy.job_id).status == "running"
