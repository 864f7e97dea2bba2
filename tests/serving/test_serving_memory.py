"""Memory does not grow with the tasks that were served or the jobs that were run."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest

from tests.api.service import Service, start_service
from tests.serving.jobs import FAST, REQUEST, end_of, start_job

MIB = 1024 * 1024
CALLERS, WARM_UP_TASKS, TASKS = 4, 400, 1200
JOBS = 3
TASK_BYTES = 9 * 1024
"""Of a task's parameters, rows and answer; each kept would be 10 MiB and more over the tasks below."""
SLACK_BYTES = TASKS * TASK_BYTES // 2


@pytest.fixture
def service(tmp_path: Path) -> Iterator[Service]:
    # A small cache, that is full long before the measurement begins.
    running = start_service(tmp_path / "data", task_cache_bytes=MIB, model_cache_bytes=8 * MIB, **FAST)
    yield running
    running.stop()


def resident_bytes(service: Service) -> int:
    pages = Path(f"/proc/{service.process.pid}/statm").read_text().split()[1]
    return int(pages) * 4096


def serve_tasks(service: Service, num_tasks: int) -> None:
    def caller(number: int) -> None:
        with httpx.Client(base_url=service.url, timeout=60.0) as http:
            for i in range(num_tasks // CALLERS):
                support = {"inputs": [[i / 100], [1.0], [2.0]], "targets": [0.5, number, -0.5]}
                adapted = http.post("/adapt", json={"support": support}).json()
                http.post("/predict", json={"task_id": adapted["task_id"], "inputs": [[0.5]]}).raise_for_status()

    with ThreadPoolExecutor(CALLERS) as threads:
        list(threads.map(caller, range(CALLERS)))


def test_memory_does_not_grow_with_the_tasks_served(service: Service) -> None:
    serve_tasks(service, WARM_UP_TASKS)
    before = resident_bytes(service)
    serve_tasks(service, TASKS)
    assert resident_bytes(service) - before < SLACK_BYTES


def test_memory_does_not_grow_with_the_jobs_run(service: Service) -> None:
    small = {"iterations": 40, "validate_every": 20, "network": {"kind": "mlp", "hidden": [256, 256]}}
    for seed in (100, 101):  # what the first ones leave is there once
        end_of(service.http, start_job(service.http, **small, seed=seed).job_id)
    before = resident_bytes(service)
    for seed in range(JOBS):
        end_of(service.http, start_job(service.http, **small, seed=seed).job_id)
    # A checkpoint of this network is 1 MiB; each job makes two, and its weights.
    assert resident_bytes(service) - before < JOBS * 2 * MIB
    assert len(service.http.get(f"/models/{REQUEST['name']}").json()["versions"]) == JOBS + 2
