"""Define every error of the service and of its client; each class has a stable code.

InnerloopError
├── ServiceError                 the service answered with an error
│   ├── MalformedRequest         it could not be read at all
│   │       BadRequest, InvalidIdempotencyKey, NotJson
│   ├── InvalidContent           it was read, and its content is refused
│   │   ├── InvalidRequest, InvalidId, ModelMismatch, IdempotencyKeyReused, Diverged
│   │   ├── InvalidRows          what the rows hold
│   │   │       EmptySupport, InvalidPicture, InvalidTargets, NonFiniteOutputs, NotFinite,
│   │   │       ShapeMismatch, TooFewClasses, TooManyClasses, UnknownClass
│   │   └── InvalidSetting       how to adapt
│   │           SettingNotSupported, SettingOutOfRange, StepsOverLimit
│   ├── NotFound
│   │       ModelNotFound, ProblemNotFound, RevisionNotFound, RouteNotFound, TaskNotFound, VersionNotFound
│   ├── MethodNotAllowed
│   ├── Conflict
│   │       IdempotencyInFlight, RevisionConflict
│   ├── TooLarge
│   │       BodyTooLarge, PictureTooLarge, TooManyRows
│   ├── UnsupportedMediaType
│   ├── Unavailable              try again after `retry_after_seconds`
│   │       Draining, NotReady, Overloaded, StoreUnavailable
│   ├── DeadlineExceeded
│   ├── StoreFull
│   └── InternalError
└── ClientError                  raised by the client, never sent by the service
        TimedOut, UnexpectedAnswer, Unreachable, UnreadableFile

Only classes with a code are raised. A code never changes its meaning.
"""
# ruff: noqa: D101 -- title and remedy say what a docstring would

from collections.abc import Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import ClassVar, TypedDict


class FieldError(TypedDict):
    """Name one wrong field: where it is in the request, and what is wrong with it."""

    loc: list[str | int]
    msg: str


class InnerloopError(Exception):
    """Be the root of every error that innerloop raises.

    `detail` says what was expected, what came and what to do; `errors` names the wrong fields; `request_id`
    is set by the client on what the service answered.
    """

    code: ClassVar[str]
    title: ClassVar[str]
    remedy: ClassVar[str]

    def __init__(
        self, detail: str, *, errors: Sequence[FieldError] = (), retry_after_seconds: float | None = None
    ) -> None:
        super().__init__(detail)
        self.detail = detail
        self.errors = list(errors)
        self.retry_after_seconds = retry_after_seconds
        self.request_id: str | None = None


class ServiceError(InnerloopError):
    title = "The service refused the request"
    remedy = "This code is unknown here. Update the client, or read GET /problems/{code} of the service."


class ClientError(InnerloopError):
    pass


class MalformedRequest(ServiceError):
    pass


class BadRequest(MalformedRequest):
    code = "bad-request"
    title = "The request cannot be read"
    remedy = "A header, a query parameter or the body is not well-formed. Compare with GET /openapi.json."


class InvalidIdempotencyKey(MalformedRequest):
    code = "invalid-idempotency-key"
    title = "The Idempotency-Key header is not usable"
    remedy = "Send 1 to 255 printable ASCII characters, a new key for each new piece of work, such as a UUID."


class NotJson(MalformedRequest):
    code = "not-json"
    title = "The body is not JSON"
    remedy = "Send one JSON document in UTF-8 with Content-Type: application/json."


class InvalidContent(ServiceError):
    pass


class InvalidRequest(InvalidContent):
    code = "invalid-request"
    title = "A field is missing, unknown or of the wrong type"
    remedy = "`errors` names each field. Numbers are not taken as strings, nor booleans as numbers."


class InvalidId(InvalidContent):
    code = "invalid-id"
    title = "An id or a name has characters it may not have"
    remedy = "Ids and names are 1 to 64 of A-Z a-z 0-9 _ and -; a model may be followed by @ and a version."


class ModelMismatch(InvalidContent):
    code = "model-mismatch"
    title = "The task belongs to another model"
    remedy = "Append under the model that the task has, or adapt without append to move the task."


class IdempotencyKeyReused(InvalidContent):
    code = "idempotency-key-reused"
    title = "This Idempotency-Key came with another body before"
    remedy = "Make a new key for new work; a key is only for sending the very same request again."


class Diverged(InvalidContent):
    code = "diverged"
    title = "Adaptation became non-finite; nothing was stored"
    remedy = "Take fewer steps or a lower rate, or keep the best finite step with on_divergence best."


class InvalidRows(InvalidContent):
    pass


class EmptySupport(InvalidRows):
    code = "empty-support"
    title = "The support has no rows"
    remedy = "Send at least one row of inputs and its target."


class InvalidPicture(InvalidRows):
    code = "invalid-picture"
    title = "An input is not a picture that can be read"
    remedy = "Send a whole PNG or JPEG file, base64 encoded, or numbers of the model's shape in 0..1."


class InvalidTargets(InvalidRows):
    code = "invalid-targets"
    title = "The targets are of the wrong kind"
    remedy = "Regression takes numbers. Classification takes all strings or all integers, never both."


class NonFiniteOutputs(InvalidRows):
    code = "non-finite-outputs"
    title = "The model's outputs for these inputs are not finite"
    remedy = "The inputs are far from what the model can take. Check their units and scale."


class NotFinite(InvalidRows):
    code = "not-finite"
    title = "A number is NaN, infinite or too large for float32"
    remedy = "Replace or drop the rows that have no finite value; the detail names the first of them."


class ShapeMismatch(InvalidRows):
    code = "shape-mismatch"
    title = "Rows do not have the model's shape"
    remedy = "Compare with input.shape and output.shape at GET /models/{name}; each input needs one target."


class TooFewClasses(InvalidRows):
    code = "too-few-classes"
    title = "The support has too few classes"
    remedy = "Send rows of at least two classes."


class TooManyClasses(InvalidRows):
    code = "too-many-classes"
    title = "The support has more classes than the model can hold"
    remedy = "Send fewer classes, or take a model with a larger output.shape; GET /limits has the overall cap."


class UnknownClass(InvalidRows):
    code = "unknown-class"
    title = "The validation names a class that the support lacks"
    remedy = "Add support rows of that class, or leave its rows out of the validation."


class InvalidSetting(InvalidContent):
    pass


class SettingNotSupported(InvalidSetting):
    code = "setting-not-supported"
    title = "The model's learner has no such setting"
    remedy = "Leave the setting out. On learned rates use learning_rate_scale instead of learning_rate."


class SettingOutOfRange(InvalidSetting):
    code = "setting-out-of-range"
    title = "A setting is outside its range"
    remedy = "Rates are above 0 and at most what GET /limits says."


class StepsOverLimit(InvalidSetting):
    code = "steps-over-limit"
    title = "More steps than allowed"
    remedy = "Stay at or below max_steps of the model version and of GET /limits."


class NotFound(ServiceError):
    pass


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


class TaskNotFound(NotFound):
    code = "task-not-found"
    title = "There is no such task"
    remedy = "It was never adapted, was deleted or has expired. Send its support to POST /adapt."


class VersionNotFound(NotFound):
    code = "version-not-found"
    title = "The model has no such version"
    remedy = "GET /models/{name} lists the versions."


class MethodNotAllowed(ServiceError):
    code = "method-not-allowed"
    title = "The path does not take this method"
    remedy = "The Allow header names the methods that it takes."


class Conflict(ServiceError):
    pass


class IdempotencyInFlight(Conflict):
    code = "idempotency-in-flight"
    title = "The first request with this Idempotency-Key is still being worked on"
    remedy = "Wait a moment and send the same request again; it gets the first one's answer."


class RevisionConflict(Conflict):
    code = "revision-conflict"
    title = "The task's latest revision is not the one in if_revision"
    remedy = "Somebody else adapted the task. Read it again, decide, and send its latest revision."


class TooLarge(ServiceError):
    pass


class BodyTooLarge(TooLarge):
    code = "body-too-large"
    title = "The body has too many bytes"
    remedy = "Stay below max_body_bytes of GET /limits; predict in several requests."


class PictureTooLarge(TooLarge):
    code = "picture-too-large"
    title = "A picture has too many pixels"
    remedy = "Scale it down below max_picture_pixels of GET /limits; models see far fewer anyway."


class TooManyRows(TooLarge):
    code = "too-many-rows"
    title = "Too many rows"
    remedy = "Stay within max_support_rows and max_query_rows of GET /limits; predict in several requests."


class UnsupportedMediaType(ServiceError):
    code = "unsupported-media-type"
    title = "The body's media type is not taken"
    remedy = "Send Content-Type: application/json."


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


class InternalError(ServiceError):
    code = "internal-error"
    title = "The service failed"
    remedy = "This is a fault of the service. Report it with its request_id."


class TimedOut(ClientError):
    code = "timeout"
    title = "The service did not answer in time"
    remedy = "Give the client a longer timeout, or look at GET /readyz."


class UnexpectedAnswer(ClientError):
    code = "unexpected-answer"
    title = "The answer is not one of this service"
    remedy = "Something else answers at this address, such as a proxy, or the service is of another release."


class Unreachable(ClientError):
    code = "unreachable"
    title = "The service cannot be reached"
    remedy = "Check the address (INNERLOOP_URL) and that the service runs."


class UnreadableFile(ClientError):
    code = "unreadable-file"
    title = "A file cannot be read as rows"
    remedy = "Give JSON, CSV, npz, or folders of PNG and JPEG pictures; the detail names the file and the row."


def _concrete(root: type[InnerloopError]) -> Iterator[type[InnerloopError]]:
    if "code" in vars(root):
        yield root
    for child in root.__subclasses__():
        yield from _concrete(child)


ERROR_BY_CODE: Mapping[str, type[InnerloopError]] = MappingProxyType(
    {cls.code: cls for cls in _concrete(InnerloopError)}
)


def error_of(
    code: str, detail: str, *, errors: Sequence[FieldError] = (), retry_after_seconds: float | None = None
) -> InnerloopError:
    """Make the error of a code.

    A code that this release does not know gives a `ServiceError` that carries it.
    """
    cls = ERROR_BY_CODE.get(code)
    if cls is None:
        cls = type("ServiceError", (ServiceError,), {"code": code})
    return cls(detail, errors=errors, retry_after_seconds=retry_after_seconds)
