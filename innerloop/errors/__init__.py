"""Define every error of the service and of its client; each class has a stable code.

InnerloopError
├── ServiceError                 the service answered with an error
│   ├── MalformedRequest         it could not be read at all
│   │       BadRequest, InvalidIdempotencyKey, NotJson, NotSafetensors
│   ├── InvalidContent           it was read, and its content is refused
│   │   ├── InvalidRequest, InvalidId, ModelMismatch, IdempotencyKeyReused, Diverged, TrainingDiverged,
│   │   │       TextNotAvailable
│   │   ├── InvalidRows          what the rows hold
│   │   │       EmptySupport, InvalidPicture, InvalidTargets, InvalidText, NonFiniteOutputs, NotFinite,
│   │   │       ShapeMismatch, TooFewClasses, TooManyClasses, UnknownClass
│   │   ├── InvalidSetting       how to adapt
│   │   │       SettingNotSupported, SettingOutOfRange, StepsOverLimit
│   │   └── InvalidData          what an uploaded file holds
│   │           InvalidArchive, InvalidDataset, InvalidWeights
│   ├── NotFound
│   │       CheckpointNotFound, DatasetNotFound, JobNotFound, ModelNotFound, ProblemNotFound,
│   │       RevisionNotFound, RouteNotFound, TaskNotFound, VersionNotFound
│   ├── MethodNotAllowed
│   ├── Conflict
│   │       DatasetExists, DatasetInUse, IdempotencyInFlight, JobStateConflict, RevisionConflict, VersionInUse
│   ├── TooLarge
│   │       BodyTooLarge, DatasetTooLarge, PictureTooLarge, TextTooLong, TooManyRows,
│   │       TooManyRequestsInBatch
│   ├── UnsupportedMediaType
│   ├── Unavailable              try again after `retry_after_seconds`
│   │       Draining, NotReady, Overloaded, StoreUnavailable
│   ├── DeadlineExceeded
│   ├── StoreFull
│   ├── JobCrashed
│   └── InternalError
└── ClientError                  raised by the client, never sent by the service
        TimedOut, UnexpectedAnswer, Unreachable, UnreadableFile

Only classes with a code are raised. A code never changes its meaning.
"""

from collections.abc import Iterator, Mapping, Sequence
from types import MappingProxyType

from innerloop.errors.client import (
    TimedOut,
    UnexpectedAnswer,
    Unreachable,
    UnreadableFile,
)
from innerloop.errors.content import (
    Diverged,
    EmptySupport,
    IdempotencyKeyReused,
    InvalidArchive,
    InvalidContent,
    InvalidData,
    InvalidDataset,
    InvalidId,
    InvalidPicture,
    InvalidRequest,
    InvalidRows,
    InvalidSetting,
    InvalidTargets,
    InvalidText,
    InvalidWeights,
    ModelMismatch,
    NonFiniteOutputs,
    NotFinite,
    SettingNotSupported,
    SettingOutOfRange,
    ShapeMismatch,
    StepsOverLimit,
    TextNotAvailable,
    TooFewClasses,
    TooManyClasses,
    TrainingDiverged,
    UnknownClass,
)
from innerloop.errors.form import (
    BadRequest,
    BodyTooLarge,
    DatasetTooLarge,
    InvalidIdempotencyKey,
    MalformedRequest,
    MethodNotAllowed,
    NotJson,
    NotSafetensors,
    PictureTooLarge,
    TextTooLong,
    TooLarge,
    TooManyRequestsInBatch,
    TooManyRows,
    UnsupportedMediaType,
)
from innerloop.errors.root import (
    ClientError,
    FieldError,
    InnerloopError,
    ServiceError,
)
from innerloop.errors.service import (
    DeadlineExceeded,
    Draining,
    InternalError,
    JobCrashed,
    NotReady,
    Overloaded,
    StoreFull,
    StoreUnavailable,
    Unavailable,
)
from innerloop.errors.state import (
    CheckpointNotFound,
    Conflict,
    DatasetExists,
    DatasetInUse,
    DatasetNotFound,
    IdempotencyInFlight,
    JobNotFound,
    JobStateConflict,
    ModelNotFound,
    NotFound,
    ProblemNotFound,
    RevisionConflict,
    RevisionNotFound,
    RouteNotFound,
    TaskNotFound,
    VersionInUse,
    VersionNotFound,
)

__all__ = [
    "ERROR_BY_CODE",
    "BadRequest",
    "BodyTooLarge",
    "CheckpointNotFound",
    "ClientError",
    "Conflict",
    "DatasetExists",
    "DatasetInUse",
    "DatasetNotFound",
    "DatasetTooLarge",
    "DeadlineExceeded",
    "Diverged",
    "Draining",
    "EmptySupport",
    "FieldError",
    "IdempotencyInFlight",
    "IdempotencyKeyReused",
    "InnerloopError",
    "InternalError",
    "InvalidArchive",
    "InvalidContent",
    "InvalidData",
    "InvalidDataset",
    "InvalidId",
    "InvalidIdempotencyKey",
    "InvalidPicture",
    "InvalidRequest",
    "InvalidRows",
    "InvalidSetting",
    "InvalidTargets",
    "InvalidText",
    "InvalidWeights",
    "JobCrashed",
    "JobNotFound",
    "JobStateConflict",
    "MalformedRequest",
    "MethodNotAllowed",
    "ModelMismatch",
    "ModelNotFound",
    "NonFiniteOutputs",
    "NotFinite",
    "NotFound",
    "NotJson",
    "NotReady",
    "NotSafetensors",
    "Overloaded",
    "PictureTooLarge",
    "ProblemNotFound",
    "RevisionConflict",
    "RevisionNotFound",
    "RouteNotFound",
    "ServiceError",
    "SettingNotSupported",
    "SettingOutOfRange",
    "ShapeMismatch",
    "StepsOverLimit",
    "StoreFull",
    "StoreUnavailable",
    "TaskNotFound",
    "TextNotAvailable",
    "TextTooLong",
    "TimedOut",
    "TooFewClasses",
    "TooLarge",
    "TooManyClasses",
    "TooManyRequestsInBatch",
    "TooManyRows",
    "TrainingDiverged",
    "Unavailable",
    "UnexpectedAnswer",
    "UnknownClass",
    "Unreachable",
    "UnreadableFile",
    "UnsupportedMediaType",
    "VersionInUse",
    "VersionNotFound",
    "error_of",
]


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
