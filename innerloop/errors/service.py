"""Define the errors that are the service's own and no fault of the request."""
# ruff: noqa: D101 -- title and remedy say what a docstring would

from innerloop.errors.root import ServiceError


class Unavailable(ServiceError):
    pass


class Draining(Unavailable):
    code = "draining"
    title = "The service is shutting down"
    remedy = "Send the request again after Retry-After; another process will take it."


class NotReady(Unavailable):
    code = "not-ready"
    title = "The service is still starting"
    remedy = "Send the request again after Retry-After; GET /readyz says what it waits for."


class Overloaded(Unavailable):
    code = "overloaded"
    title = "The service is full"
    remedy = "Send the request again after Retry-After, and fewer at a time."


class StoreUnavailable(Unavailable):
    code = "store-unavailable"
    title = "The store does not answer"
    remedy = "Send the request again after Retry-After; if it stays, the operator has to look at the database."


class DeadlineExceeded(ServiceError):
    code = "deadline-exceeded"
    title = "The request's time passed before the work began; it was not done"
    remedy = "Send it again, with a larger X-Request-Timeout-Ms or when the service is less busy."


class StoreFull(ServiceError):
    code = "store-full"
    title = "There is no room to store the result; nothing was stored"
    remedy = "Delete tasks that are no longer needed, or give the service more space."


class JobCrashed(ServiceError):
    code = "job-crashed"
    title = "The process of the job ended unexpectedly"
    remedy = "Resume the job; it goes on from its last checkpoint. If it ends so again, report it with its job_id."


class InternalError(ServiceError):
    code = "internal-error"
    title = "The service failed"
    remedy = "This is a fault of the service. Report it with its request_id."
