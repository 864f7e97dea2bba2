"""Claims about what becomes of a model when jobs for it succeed or fail."""

from typing import Any

import httpx
import pytest

from innerloop.wire import JobInfo, Problem
from tests.api.asking import adapt, outputs, problem_of, sine
from tests.api.drawings import MODEL
from tests.api.service import Service
from tests.api.tiny_jobs import new_name, start, train
from tests.serving.jobs import check_events, end_of, events_of, job_of

WILD: dict[str, Any] = {
    "optimizer": "sgd",
    "meta_learning_rate": 9.9,
    "clip_norm": None,
    "learner": {"kind": "maml", "steps": 5, "learning_rate": 0.05},
    "iterations": 500,
    "validate_every": 500,
    "meta_batch_size": 4,
}
LEARNING: dict[str, Any] = {"meta_learning_rate": 0.01, "iterations": 300, "validate_every": 100, "meta_batch_size": 8}


class Name:
    """A model that several jobs are for."""

    def __init__(self, http: httpx.Client) -> None:
        self.name, self._http = new_name(), http

    def train(self, **fields: Any) -> dict[str, Any]:
        """Return the version that a job made."""
        job = train(self._http, name=self.name, **fields)
        return next(shown for shown in self.shown()["versions"] if shown["version"] == job.model_version)

    def shown(self) -> dict[str, Any]:
        """Return what GET /models/{name} says."""
        found: dict[str, Any] = self._http.get(f"/models/{self.name}").json()
        return found


@pytest.fixture(scope="module")
def model(service: Service) -> Name:
    """A model with one version, hardly trained."""
    made = Name(service.http)
    made.train(meta_learning_rate=1e-6)
    return made


def test_never_leaves_the_active_version(model: Name) -> None:
    version = model.train(promote="never", seed=1)
    assert "promotion" not in version["metrics"]
    assert model.shown()["active_version"] != version["version"]


def test_better_version_becomes_active_and_tells_what_it_was_compared_with(model: Name) -> None:
    before = model.shown()["active_version"]
    version = model.train(promote="if_better", **LEARNING)
    found = version["metrics"]["promotion"]
    assert (found["against"], found["better"], found["score"]) == (before, True, "minus_loss")
    assert found["difference"] - found["interval"] > 0.0
    assert found["num_tasks"] > 0
    assert model.shown()["active_version"] == version["version"]


def test_equal_version_does_not_become_active(model: Name) -> None:
    model.train(promote="always", seed=5)
    before = model.shown()["active_version"]
    version = model.train(promote="if_better", seed=5)
    assert version["metrics"]["promotion"]["better"] is False
    assert version["metrics"]["promotion"]["difference"] == 0.0
    assert model.shown()["active_version"] == before != version["version"]


def test_always_makes_a_worse_version_active(model: Name) -> None:
    version = model.train(promote="always", meta_learning_rate=1e-6, seed=2)
    assert model.shown()["active_version"] == version["version"]
    assert "promotion" not in version["metrics"]


def test_two_jobs_for_one_name_at_once_make_a_version_each(http: httpx.Client) -> None:
    name = new_name()
    jobs = [start(http, name=name, seed=seed) for seed in range(2)]
    ended = [end_of(http, job.job_id) for job in jobs]
    assert [job.status for job in ended] == ["succeeded"] * 2
    assert sorted(str(job.model_version) for job in ended) == ["1", "2"]
    versions = http.get(f"/models/{name}").json()["versions"]
    assert [version["provenance"]["job_id"] for version in versions] == [
        job.job_id for job in sorted(ended, key=lambda job: job.model_version or 0)
    ]


def test_first_version_that_is_never_to_be_promoted_is_not_served_until_it_is(http: httpx.Client) -> None:
    name = new_name()
    job = train(http, name=name, promote="never")
    assert job.model_version == 1
    problem_of(http.post("/adapt", json={"model": name, "support": sine(3)}), 404, "model-not-found")
    promoted = http.post(f"/models/{name}/promote", json={"version": 1})
    assert promoted.status_code == 200, promoted.text
    assert promoted.json()["active_version"] == 1
    assert adapt(http, model=name).model_version == 1


def test_version_of_another_schema_does_not_become_active_by_being_better(http: httpx.Client) -> None:
    model = Name(http)
    pictures = http.get(f"/models/{MODEL}/versions/1/weights").content
    headers = {"Content-Type": "application/vnd.safetensors"}
    assert http.post(f"/models/{model.name}/versions", content=pictures, headers=headers).status_code == 201
    found = model.train(promote="if_better")["metrics"]["promotion"]
    assert (found["against"], found["better"]) == (1, False)
    assert "schema" in found["reason"]
    assert model.shown()["active_version"] == 1


@pytest.fixture(scope="module")
def diverged(service: Service, model: Name) -> JobInfo:
    """A job for the same model that failed."""
    job = end_of(service.http, start(service.http, name=model.name, promote="always", **WILD).job_id)
    assert job.status == "failed", job
    return job


def test_job_that_diverges_fails_with_the_iteration_as_a_problem(diverged: JobInfo) -> None:
    error = diverged.error
    assert isinstance(error, Problem)
    assert (error.code, error.status, error.type) == ("training-diverged", 422, "/problems/training-diverged")
    assert error.detail == error.error
    assert "from iteration " in error.detail
    assert error.title
    assert diverged.model_version is None
    assert diverged.finished_at is not None
    assert diverged.progress.eta_seconds is None


def test_end_event_tells_why_a_job_failed(http: httpx.Client, diverged: JobInfo) -> None:
    events = events_of(http, diverged.job_id)
    check_events(events)
    last = events[-1].data
    assert (last["status"], last["error"]["code"]) == ("failed", "training-diverged")
    assert diverged.error is not None
    assert last["error"]["detail"] == diverged.error.detail


def test_model_in_use_stays_and_serves_when_a_job_for_it_fails(
    http: httpx.Client, model: Name, diverged: JobInfo
) -> None:
    versions = [version["version"] for version in model.shown()["versions"]]
    jobs = [job for job in http.get("/meta-train?limit=500").json()["data"] if job["name"] == model.name]
    assert sorted(versions) == sorted(job["model_version"] for job in jobs if job["status"] == "succeeded")
    active = model.shown()["active_version"]
    assert active is not None
    answer = adapt(http, model=model.name)
    assert answer.model_version == active
    assert outputs(http, task_id=answer.task_id, inputs=[[0.5]])


def test_failed_job_can_be_resumed_and_fails_again(http: httpx.Client, diverged: JobInfo) -> None:
    before = events_of(http, diverged.job_id)
    resumed = http.post(f"/meta-train/{diverged.job_id}/resume")
    assert resumed.status_code == 202
    assert (resumed.json()["status"], resumed.json()["error"]) == ("queued", None)
    again = end_of(http, diverged.job_id)
    assert again.status == "failed"
    assert again.error == diverged.error
    events = events_of(http, diverged.job_id)
    # The end that was not the last is told as a status.
    assert events[: len(before)] == [*before[:-1], before[-1]._replace(kind="status")]
    assert [event.id for event in events] == list(range(1, len(events) + 1))
    assert job_of(http, diverged.job_id).created_at == diverged.created_at
