"""Meta-training jobs of a second or two, and one that runs until it is cancelled."""

from typing import Any
from uuid import uuid4

import httpx

from innerloop.wire import JobInfo
from tests.serving.jobs import end_of, start_job, wait_for

TINY: dict[str, Any] = {
    "network": {"kind": "mlp", "hidden": [8]},
    "iterations": 20,
    "meta_batch_size": 2,
    "validate_every": 10,
}
ENDLESS: dict[str, Any] = {"iterations": 1_000_000, "validate_every": 200, "meta_batch_size": 1}


def new_name(what: str = "model") -> str:
    """Return a name that nothing else has."""
    return f"{what}-{uuid4().hex}"


def start(http: httpx.Client, **fields: Any) -> JobInfo:
    """Queue a tiny job on sinusoids, under a name of its own unless one is given."""
    return start_job(http, **{**TINY, "name": new_name(), **fields})


def train(http: httpx.Client, **fields: Any) -> JobInfo:
    """Return a tiny job that has succeeded."""
    job = end_of(http, start(http, **fields).job_id)
    assert job.status == "succeeded", job.error
    return job


def running(http: httpx.Client, **fields: Any) -> JobInfo:
    """Return a job that has made some progress and does not end by itself."""
    job = start(http, **{**ENDLESS, **fields})
    return wait_for(http, job.job_id, lambda job: job.progress.iteration > 0)


def cancel(http: httpx.Client, *jobs: JobInfo) -> list[JobInfo]:
    """Cancel what has not ended, and return the jobs when all have."""
    for job in jobs:
        answer = http.post(f"/meta-train/{job.job_id}/cancel")
        assert answer.status_code in (202, 409), answer.text
    return [end_of(http, job.job_id) for job in jobs]
