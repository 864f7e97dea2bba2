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
    title = "The service is not ready"
    remedy = "Send the request again after Retry-After; the reasons say what the operator has to look at if it stays."


class Overloaded(Unavailable):
    code = "overloaded"
    title = "The service is full"
    remedy = "Send the request again after Retry-After, and fewer at a time."


class StoreUnavailable(Unavailable):
    code = "store-unavailable"
    title = "The store does not answer"
    remedy = "Send the request again after Retry-After; if it stays, the operator has to look at the database."


class DeviceOutOfMemory(Unavailable):
    code = "device-out-of-memory"
    title = "The device has no memory left for this work"
    remedy = "Send it again with fewer rows, or after Retry-After; if it stays, the device needs more memory."


class DeviceGone(Unavailable):
    code = "device-gone"
    title = "The device has failed"
    remedy = "Send the request again after Retry-After; this process ends, and its supervisor starts another."


class UsedUp(ServiceError):
    pass


class RateLimited(UsedUp):
    code = "rate-limited"
    title = "You have sent as many requests as you may in this time"
    remedy = "Send the request again after Retry-After; GET /limits says how many a second you may send."


class TooManyAtOnce(UsedUp):
    code = "too-many-at-once"
    title = "As many of your requests are under way as may be"
    remedy = "Wait for an answer before you send the next one; GET /limits says how many may be under way."


class ShareUsedUp(UsedUp):
    code = "share-used-up"
    title = "The service is full, and your share of it is used up"
    remedy = "Send the request again after Retry-After, and fewer at a time: others are waiting too."


class StorageUsedUp(UsedUp):
    code = "storage-used-up"
    title = "You have stored as much as you may"
    remedy = (
        "Delete tasks, data sets or model versions that are no longer needed and send the request again; "
        "GET /limits says how much you may store."
    )


class TooManyJobs(UsedUp):
    code = "too-many-jobs"
    title = "As many of your jobs wait as may"
    remedy = "Wait until one of your jobs begins, or cancel one; GET /limits says how many may wait."


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
