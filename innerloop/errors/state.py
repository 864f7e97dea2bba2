"""Define the errors of what is not there, and of what is not in the right state."""
# ruff: noqa: D101 -- title and remedy say what a docstring would

from innerloop.errors.root import ServiceError


class NotFound(ServiceError):
    pass


class CheckpointNotFound(NotFound):
    code = "checkpoint-not-found"
    title = "The job has no checkpoint yet"
    remedy = "The first one is written at the first validation; wait for it, or lower validate_every."


class DatasetNotFound(NotFound):
    code = "dataset-not-found"
    title = "There is no such data set"
    remedy = "GET /datasets lists the names; POST /datasets uploads one."


class JobNotFound(NotFound):
    code = "job-not-found"
    title = "There is no such job"
    remedy = "GET /meta-train lists the jobs."


class ModelNotFound(NotFound):
    code = "model-not-found"
    title = "There is no such model"
    remedy = "GET /models lists the names; a model without an active version has to be promoted first."


class ProblemNotFound(NotFound):
    code = "problem-not-found"
    title = "There is no such problem code"
    remedy = "Take the code from the `code` field of an error."


class RevisionNotFound(NotFound):
    code = "revision-not-found"
    title = "The task has no such revision"
    remedy = "GET /tasks/{id}/revisions lists those that are kept; older ones are dropped."


class RouteNotFound(NotFound):
    code = "route-not-found"
    title = "There is nothing at this path"
    remedy = "GET /openapi.json lists the paths."


class RowNotFound(NotFound):
    code = "row-not-found"
    title = "The task's support has no such row"
    remedy = "GET /tasks/{id}/support shows the rows of the latest revision; they are counted from 0."


class TaskNotFound(NotFound):
    code = "task-not-found"
    title = "There is no such task"
    remedy = "It was never adapted, was deleted or has expired. Send its support to POST /adapt."


class VersionNotFound(NotFound):
    code = "version-not-found"
    title = "The model has no such version"
    remedy = "GET /models/{name} lists the versions."


class Conflict(ServiceError):
    pass


class DatasetExists(Conflict):
    code = "dataset-exists"
    title = "There is a data set of this name"
    remedy = "A data set never changes. Take another name, or delete the old one first."


class DatasetInUse(Conflict):
    code = "dataset-in-use"
    title = "A job that is queued or running uses the data set"
    remedy = "Wait for the job's end or cancel it, then delete the data set."


class IdempotencyInFlight(Conflict):
    code = "idempotency-in-flight"
    title = "The first request with this Idempotency-Key is still being worked on"
    remedy = "Wait a moment and send the same request again; it gets the first one's answer."


class JobStateConflict(Conflict):
    code = "job-state"
    title = "The job is not in a state that allows this"
    remedy = "Read its status again: queued and running jobs can be cancelled, failed and cancelled ones resumed."


class LastRow(Conflict):
    code = "last-row"
    title = "The row is the last one of its task or of its class"
    remedy = "Delete the task, or adapt it anew on the rows that it is to have."


class RevisionConflict(Conflict):
    code = "revision-conflict"
    title = "The task's latest revision is not the one in if_revision"
    remedy = "Somebody else adapted the task. Read it again, decide, and send its latest revision."


class VersionInUse(Conflict):
    code = "version-in-use"
    title = "The version is active or has tasks"
    remedy = "Promote another version, and delete the tasks of this one first."
