"""A job that is cancelled stops within one progress step, and its process with its memory is gone."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.api.service import Service, start_service
from tests.serving.jobs import FAST, child_of, end_of, events_of, gone_within, job_of, past, runs, start_job, wait_for

SLOW = {"network": {"kind": "mlp", "hidden": [256, 256]}, "meta_batch_size": 200, "validate_every": 100_000}
"""Iterations of a tenth of a second and more, so that each of them is a step that can be told apart."""
MEMORY_SECONDS = 10.0


@pytest.fixture
def service(tmp_path: Path) -> Iterator[Service]:
    running = start_service(tmp_path / "data", **FAST)
    yield running
    running.stop()


def test_cancelled_job_stops_within_one_progress_step(service: Service) -> None:
    job = start_job(service.http, iterations=100_000, **SLOW)
    wait_for(service.http, job.job_id, past(2))
    child = child_of(service)
    assert runs(child)
    answer = service.http.post(f"/meta-train/{job.job_id}/cancel")
    assert answer.status_code == 202
    asked_at = job_of(service.http, job.job_id).progress.iteration
    ended = end_of(service.http, job.job_id)
    assert ended.status == "cancelled"
    told = [event.data["iteration"] for event in events_of(service.http, job.job_id) if event.kind == "progress"]
    # One step may have been under way when it was asked, and its report on the way.
    assert max(ended.progress.iteration, *told) <= asked_at + 2
    assert gone_within(child, MEMORY_SECONDS), "its memory is not given back"
