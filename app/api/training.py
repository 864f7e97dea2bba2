"""`POST /meta-train` up to the queue, and jobs as the wire shows them. Blocks."""

import os
import uuid
from typing import Any

from app.api.context import Context, now
from app.api.model_names import own_name, public_name
from app.api.outcome import Caller, Outcome
from app.api.problems import problem_document
from app.datasets.stored import dataset_of
from app.jobs.plan import check_caps, checkpoint_bytes, planned_run
from app.store import Job, JobEvent, NewAnswer, NewJob
from app.task_distributions.registry import Datasets
from innerloop.errors import ERROR_BY_CODE
from innerloop.wire import GroupedTasks, JobInfo, JobProgress, LabelledTasks, MetaTrainRequest

ENDED = ("succeeded", "failed", "cancelled")


def enqueue(context: Context, caller: Caller, request: MetaTrainRequest) -> Outcome:
    """Check all of a request, queue it as a job and return the answer.

    Raises DatasetNotFound, InvalidRequest, TooManyJobs, Overloaded, StorageUsedUp, and what idempotency keys raise.
    """
    dataset = request.tasks.dataset if isinstance(request.tasks, (LabelledTasks, GroupedTasks)) else None
    check_caps(request, context.limits)
    most = {"max_queued": context.limits.max_jobs_queued, "max_queued_of_tenant": context.max_queued_of_tenant}
    context.store.check_job_room(caller.tenant, **most)
    num_bytes = _checkpoint_bytes(context, caller, request, dataset)
    context.take_room(caller.tenant, num_bytes=num_bytes)
    settings = context.settings
    new = NewJob(
        job_id=uuid.uuid4().hex,
        tenant=caller.tenant,
        name=own_name(caller.tenant, request.name),
        request=request.model_dump(mode="json"),
        plan={"threads": settings.training_threads or max(1, (os.cpu_count() or 1) // 2)},
        progress=_nothing_yet(request.iterations),
        dataset=dataset,
    )
    idempotent = None
    if caller.idempotency_key is not None:
        idempotent = NewAnswer(caller.route, caller.idempotency_key, caller.body_sha256, 202, job_answer)
    job = context.store.add_job(new, now=now(), **most, idempotent=idempotent)
    return Outcome(202, job_answer(job))


def _checkpoint_bytes(context: Context, caller: Caller, request: MetaTrainRequest, dataset: str | None) -> int:
    """Refuse what cannot be trained, and return what a checkpoint takes.

    The data set, which may be a thousand times its file, is let go of at once.
    """
    datasets: Datasets = {}
    if dataset is not None:
        datasets = {dataset: dataset_of(context.store.dataset_bytes(caller.tenant, dataset))}
    return checkpoint_bytes(planned_run(request, datasets, context.limits))


def job_answer(job: Job) -> dict[str, Any]:
    """Return a job as JSON."""
    return job_info(job).model_dump(mode="json")


def job_info(job: Job) -> JobInfo:
    """Return a job as the wire shows it."""
    progress = JobProgress.model_validate(job.progress)
    if job.status in ENDED:
        progress.eta_seconds = None
    return JobInfo(
        job_id=job.job_id,
        status=job.status,
        name=public_name(job.name),
        model_version=job.model_version,
        progress=progress,
        created_at=job.created_at,
        started_at=job.started_at,
        finished_at=job.finished_at,
        error=_problem(job.error),
        request=job.request,
    )


def event_data(event: JobEvent) -> dict[str, Any]:
    """Return the data of an event as the wire shows it: an error as a problem."""
    return event.data | ({"error": _problem(event.data["error"])} if event.data.get("error") else {})


def _nothing_yet(iterations: int) -> dict[str, Any]:
    return {**dict.fromkeys(JobProgress.model_fields), "iteration": 0, "iterations": iterations}


def _problem(kept: dict[str, Any] | None) -> Any:
    """Return what is kept of a job's error as a problem object; it belongs to no request."""
    return None if kept is None else problem_document(ERROR_BY_CODE[kept["code"]](kept["detail"]), request_id="")
