"""Build the request of every call; nothing here sends."""

from innerloop.calls.call import Call, next_page, with_key
from innerloop.calls.for_datasets import Upload, add_dataset, dataset, datasets, delete_dataset
from innerloop.calls.for_jobs import (
    EVENT_STREAM,
    MetaTrainOptions,
    cancel_job,
    checkpoint,
    job,
    job_events,
    jobs,
    meta_train,
    resume_job,
)
from innerloop.calls.for_models import delete_model_version, model, model_weights, models, promote, upload_model_version
from innerloop.calls.for_service import health, limits, problem, ready
from innerloop.calls.for_tasks import (
    AdaptOptions,
    PredictOptions,
    Settings,
    adapt,
    delete_task,
    predict,
    revisions,
    task,
    task_weights,
    tasks,
)

__all__ = [
    "EVENT_STREAM",
    "AdaptOptions",
    "Call",
    "MetaTrainOptions",
    "PredictOptions",
    "Settings",
    "Upload",
    "adapt",
    "add_dataset",
    "cancel_job",
    "checkpoint",
    "dataset",
    "datasets",
    "delete_dataset",
    "delete_model_version",
    "delete_task",
    "health",
    "job",
    "job_events",
    "jobs",
    "limits",
    "meta_train",
    "model",
    "model_weights",
    "models",
    "next_page",
    "predict",
    "problem",
    "promote",
    "ready",
    "resume_job",
    "revisions",
    "task",
    "task_weights",
    "tasks",
    "upload_model_version",
    "with_key",
]
