"""Define every error of the service and of its client; each class has a stable code.

InnerloopError
├── ServiceError                 the service answered with an error
│   ├── MalformedRequest         it could not be read at all
│   │       BadRequest, InvalidIdempotencyKey, NotJson, NotSafetensors
│   ├── InvalidContent           it was read, and its content is refused
│   │   ├── InvalidRequest, InvalidId, ModelMismatch, IdempotencyKeyReused, Diverged, TrainingDiverged,
│   │   │       SupportNeeded, SupportNotStored, TextNotAvailable
│   │   ├── InvalidRows          what the rows hold
│   │   │       EmptySupport, InvalidPicture, InvalidTargets, InvalidText, NonFiniteOutputs, NotFinite,
│   │   │       ShapeMismatch, TooFewClasses, TooManyClasses, UnknownClass
│   │   ├── InvalidSetting       how to adapt
│   │   │       SettingNotSupported, SettingOutOfRange, StepsOverLimit
│   │   └── InvalidData          what an uploaded file holds
│   │           InvalidArchive, InvalidDataset, InvalidWeights
│   ├── Refused                  the caller may not do this
│   │       ForbiddenScope, ForbiddenTenant, SharedModel, Unauthorized
│   ├── NotFound
│   │       CheckpointNotFound, DatasetNotFound, JobNotFound, ModelNotFound, ProblemNotFound,
│   │       RevisionNotFound, RouteNotFound, RowNotFound, TaskNotFound, VersionNotFound
│   ├── MethodNotAllowed
│   ├── Conflict
│   │       DatasetExists, DatasetInUse, IdempotencyInFlight, JobStateConflict, LastRow, RevisionConflict,
│   │       VersionInUse
│   ├── TooLarge
│   │       BodyTooLarge, DatasetTooLarge, PictureTooLarge, TextTooLong, TooManyRows,
│   │       TooManyRequestsInBatch
│   ├── UnsupportedMediaType
│   ├── Unavailable              try again after `retry_after_seconds`
│   │       DeviceGone, DeviceOutOfMemory, Draining, NotReady, Overloaded, StoreUnavailable
│   ├── UsedUp                   of the caller's tenant; try again after `retry_after_seconds`, or once room was made
│   │       RateLimited, ShareUsedUp, StorageUsedUp, TooManyAtOnce, TooManyJobs
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

from innerloop.errors.access import ForbiddenScope, ForbiddenTenant, Refused, SharedModel, Unauthorized
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
    SupportNeeded,
    SupportNotStored,
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
    DeviceGone,
    DeviceOutOfMemory,
    Draining,
    InternalError,
    JobCrashed,
    NotReady,
    Overloaded,
    RateLimited,
    ShareUsedUp,
    StorageUsedUp,
    StoreFull,
    StoreUnavailable,
    TooManyAtOnce,
    TooManyJobs,
    Unavailable,
    UsedUp,
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
    LastRow,
    ModelNotFound,
    NotFound,
    ProblemNotFound,
    RevisionConflict,
    RevisionNotFound,
    RouteNotFound,
    RowNotFound,
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
    "DeviceGone",
    "DeviceOutOfMemory",
    "Diverged",
    "Draining",
    "EmptySupport",
    "FieldError",
    "ForbiddenScope",
    "ForbiddenTenant",
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
    "LastRow",
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
    "RateLimited",
    "Refused",
    "RevisionConflict",
    "RevisionNotFound",
    "RouteNotFound",
    "RowNotFound",
    "ServiceError",
    "SettingNotSupported",
    "SettingOutOfRange",
    "ShapeMismatch",
    "ShareUsedUp",
    "SharedModel",
    "StepsOverLimit",
    "StorageUsedUp",
    "StoreFull",
    "StoreUnavailable",
    "SupportNeeded",
    "SupportNotStored",
    "TaskNotFound",
    "TextNotAvailable",
    "TextTooLong",
    "TimedOut",
    "TooFewClasses",
    "TooLarge",
    "TooManyAtOnce",
    "TooManyClasses",
    "TooManyJobs",
    "TooManyRequestsInBatch",
    "TooManyRows",
    "TrainingDiverged",
    "Unauthorized",
    "Unavailable",
    "UnexpectedAnswer",
    "UnknownClass",
    "Unreachable",
    "UnreadableFile",
    "UnsupportedMediaType",
    "UsedUp",
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
