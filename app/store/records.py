"""Records: what the store takes and gives back. Frozen, and nothing in them is tied to a database."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from enum import Enum
from typing import Any, Final, Generic, Literal, TypeAlias, TypeVar

Json: TypeAlias = dict[str, Any]
Classes: TypeAlias = list[str] | list[int]
Authority: TypeAlias = Literal["weights", "support"]
RevisionKey: TypeAlias = tuple[str, str, int]
Blob: TypeAlias = bytes  # where a field is called `bytes`, the type needs another name

R = TypeVar("R")


class Keep(Enum):
    """Say that a call leaves a task's time to live as it is."""

    KEEP = "keep"


KEEP: Final = Keep.KEEP


@dataclass(frozen=True, slots=True)
class ModelVersion:
    """Describe one version of a model; `card` holds all that is shown of it, `bytes` counts its weights."""

    name: str
    version: int
    created_at: datetime
    card: Json
    sha256: str
    bytes: int


@dataclass(frozen=True, slots=True)
class Model:
    """Describe a model and all its versions, the oldest first."""

    name: str
    active_version: int | None
    created_at: datetime
    versions: tuple[ModelVersion, ...]


@dataclass(frozen=True, slots=True)
class Task:
    """Describe a task.

    `revision` is the latest, `revisions` counts those that are kept and `bytes` what they hold;
    `model_version`, `support_size` (rows) and `classes` are those of the latest.
    """

    tenant: str
    task_id: str
    model: str
    model_version: int
    revision: int
    revisions: int
    support_size: int
    classes: Classes | None
    bytes: int
    created_at: datetime
    updated_at: datetime
    expires_at: datetime | None


@dataclass(frozen=True, slots=True)
class NewRevision:
    """Hold what a new revision is made of; the store adds its number, its time and its hashes.

    `support` and `weights` are safetensors; `support_size` counts rows. `authority` says which of the two
    the revision is made from, so that the other one could be made again.
    """

    tenant: str
    task_id: str
    model: str
    model_version: int
    settings: Json
    support: bytes
    support_size: int
    classes: Classes | None
    answer: Json
    weights: bytes
    authority: Authority


@dataclass(frozen=True, slots=True)
class Revision:
    """Describe one revision, without its support rows and weights; `bytes` counts both together.

    All of it is as it was made, but `expires_at`, which is its task's at the time of reading.
    """

    tenant: str
    task_id: str
    revision: int
    model: str
    model_version: int
    settings: Json
    support_sha256: str
    support_size: int
    classes: Classes | None
    answer: Json
    weights_sha256: str
    authority: Authority
    bytes: int
    created_at: datetime
    expires_at: datetime | None


@dataclass(frozen=True, slots=True)
class NewDataset:
    """Hold what a new data set is made of; the store adds its time.

    `spec` is what was asked for, `info` what describes it, `sha256` is of `data`.
    """

    tenant: str
    name: str
    kind: str
    sha256: str
    spec: Json
    info: Json
    data: bytes


@dataclass(frozen=True, slots=True)
class DatasetRecord:
    """Describe a data set, without its data; `bytes` counts that, `sha256` is of it."""

    tenant: str
    name: str
    created_at: datetime
    kind: str
    sha256: str
    bytes: int
    spec: Json
    info: Json


@dataclass(frozen=True, slots=True)
class NewAnswer(Generic[R]):
    """Name the request that a new record R answers; `answer_of` makes the answer once the record is made.

    `answer_of` runs inside the transaction: keep it short, and let it not call the store.
    """

    route: str
    key: str
    body_sha256: str
    status: int
    answer_of: Callable[[R], Json]


@dataclass(frozen=True, slots=True)
class IdempotentAnswer:
    """Hold the answer that was given to a request with an idempotency key."""

    tenant: str
    route: str
    key: str
    body_sha256: str
    status: int
    answer: Json
    task_id: str | None
    created_at: datetime
