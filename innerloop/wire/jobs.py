"""Define meta-training jobs as they are reported."""

from typing import Any, Literal

from innerloop.wire.parts import Answer, Moment
from innerloop.wire.service import Problem

JobStatus = Literal["queued", "running", "succeeded", "failed", "cancelled"]


class JobProgress(Answer):
    """Say how far a job is; losses are None before the first validation, and where not finite."""

    iteration: int
    iterations: int
    meta_loss: float | None
    validation_loss: float | None
    validation_accuracy: float | None
    tasks_per_second: float | None
    eta_seconds: float | None


class JobInfo(Answer):
    """Describe a job; `model_version` is there once it has succeeded, `error` where it has failed."""

    job_id: str
    status: JobStatus
    name: str
    model_version: int | None
    progress: JobProgress
    created_at: Moment
    started_at: Moment | None
    finished_at: Moment | None
    error: Problem | None
    request: dict[str, Any]


class JobEvent(Answer):
    """Hold one event of a job: `progress` or `status` with what changed, or `end`; ids count up over a job."""

    id: int
    event: str
    data: dict[str, Any]
