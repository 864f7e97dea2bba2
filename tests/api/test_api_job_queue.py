"""Claims about the queue of jobs, at a service that works on none: what is accepted waits, and only so much is."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from uuid import uuid4

import httpx
import pytest

from tests.api.asking import problem_of
from tests.api.data_files import grouped_arrays, npz_of, upload
from tests.api.service import Service, start_service
from tests.serving.jobs import REQUEST

MAX_QUEUED = 3
SMALL: dict[str, object] = {
    "job_worker": 0, "max_jobs_queued": MAX_QUEUED, "max_iterations": 50, "max_meta_batch_size": 4, "max_shots": 6,
    "max_queries": 7, "max_ways": 4, "max_network_parameters": 100, "max_steps": 3,
}  # fmt: skip
WITHIN: dict[str, Any] = {**REQUEST, "iterations": 50, "tasks": {"kind": "sinusoid", "shots": 6, "queries": 7}}


@pytest.fixture(scope="module")
def idle(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    running = start_service(tmp_path_factory.mktemp("idle"), **SMALL)
    yield running
    running.stop()


@pytest.fixture
def queue(idle: Service) -> Iterator[httpx.Client]:
    """A client of the service, whose queue is empty before and after the test."""
    yield idle.http
    for job in idle.http.get("/meta-train?limit=500").json()["data"]:
        if job["status"] == "queued":
            assert idle.http.post(f"/meta-train/{job['job_id']}/cancel").status_code == 202


def test_only_so_many_jobs_wait(queue: httpx.Client) -> None:
    for _ in range(MAX_QUEUED):
        assert queue.post("/meta-train", json=WITHIN).status_code == 202
    refused = queue.post("/meta-train", json=WITHIN)
    assert str(MAX_QUEUED) in problem_of(refused, 503, "overloaded").detail
    assert int(refused.headers["Retry-After"]) >= 1
    newest = queue.get("/meta-train?limit=1").json()["data"][0]
    assert queue.post(f"/meta-train/{newest['job_id']}/cancel").status_code == 202
    assert queue.post("/meta-train", json=WITHIN).status_code == 202


def test_twenty_at_once_do_not_fill_the_queue_past_its_end(queue: httpx.Client) -> None:
    with ThreadPoolExecutor(20) as threads:
        answers = list(threads.map(lambda _: queue.post("/meta-train", json=WITHIN), range(20)))
    assert sorted(answer.status_code for answer in answers) == [202] * MAX_QUEUED + [503] * (20 - MAX_QUEUED)
    waiting = [job for job in queue.get("/meta-train?limit=500").json()["data"] if job["status"] == "queued"]
    assert len(waiting) == MAX_QUEUED


def test_twenty_at_once_under_one_key_make_one_job(queue: httpx.Client) -> None:
    body, key = {**WITHIN, "name": f"once-{uuid4().hex}"}, {"Idempotency-Key": str(uuid4())}
    with ThreadPoolExecutor(20) as threads:
        answers = list(threads.map(lambda _: queue.post("/meta-train", json=body, headers=key), range(20)))
    done = [answer for answer in answers if answer.status_code == 202]
    for answer in answers:
        if answer.status_code != 202:
            problem_of(answer, 409, "idempotency-in-flight")
    assert len({answer.json()["job_id"] for answer in done}) == 1
    made = [job for job in queue.get("/meta-train?limit=500").json()["data"] if job["name"] == body["name"]]
    assert len(made) == 1


OVER: dict[str, dict[str, Any]] = {
    "50": {"iterations": 51},
    "at most 4": {"meta_batch_size": 5},
    "at most 6": {"tasks": {"kind": "sinusoid", "shots": 7, "queries": 7}},
    "at most 7": {"tasks": {"kind": "sinusoid", "shots": 6, "queries": 8}},
    "at most 100": {"network": {"kind": "mlp", "hidden": [50]}},
    "at most 3": {"learner": {"kind": "maml", "steps": 4}},
}


@pytest.mark.parametrize("said", OVER)
def test_caps_are_those_of_this_service(queue: httpx.Client, said: str) -> None:
    shown = queue.get("/limits").json()
    assert {name: shown[name] for name in SMALL if name != "job_worker"}.items() <= SMALL.items()
    problem = problem_of(queue.post("/meta-train", json={**WITHIN, **OVER[said]}), 422, "invalid-request")
    assert said in problem.detail
    assert queue.post("/meta-train", json=WITHIN).status_code == 202


def test_ways_and_range_of_shots_are_capped_too(queue: httpx.Client) -> None:
    upload(queue, npz_of(grouped_arrays()), "a.npz", name="groups", kind="grouped")
    for tasks, cap in (
        ({"kind": "labelled", "dataset": "groups", "queries": 7, "ways": 5}, 4),
        ({"kind": "labelled", "dataset": "groups", "queries": 7, "ways": 2, "training_ways": 5}, 4),
        ({"kind": "grouped", "dataset": "groups", "queries": 7, "shots": [1, 7]}, 6),
    ):
        problem = problem_of(queue.post("/meta-train", json={**WITHIN, "tasks": tasks}), 422, "invalid-request")
        assert f"at most {cap}" in problem.detail
    assert queue.delete("/datasets/groups").status_code == 204


def test_job_that_nobody_works_on_stays_queued(idle: Service, queue: httpx.Client) -> None:
    job = queue.post("/meta-train", json=WITHIN).json()
    assert job["status"] == "queued"
    assert queue.get(f"/meta-train/{job['job_id']}").json() == job
    assert queue.get("/readyz").status_code == 200
    assert not idle.logged("job claimed")
