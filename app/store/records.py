"""Records: what the store takes and gives back. Frozen, and nothing in them is tied to a database."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from enum import Enum
from typing import Any, Final, Generic, Literal, NamedTuple, TypeAlias, TypeVar

from app.store.audit_records import Note

Json: TypeAlias = dict[str, Any]
Classes: TypeAlias = list[str] | list[int]
Authority: TypeAlias = Literal["weights", "rows"]
RevisionKey: TypeAlias = tuple[str, str, int]
RevisionAsked: TypeAlias = tuple[str, str, int | None]  # None asks for the latest
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
    """Describe a model and all its versions, the oldest first; `authority` is for revisions yet to be made of it."""

    name: str
    active_version: int | None
    created_at: datetime
    versions: tuple[ModelVersion, ...]
    authority: Authority


class ActiveVersion(NamedTuple):
    """Name a model's active version, and what is stored of the revisions that are made of it."""

    version: int
    authority: Authority


@dataclass(frozen=True, slots=True)
class Task:
    """Describe a task.

    `revision` is the latest, `revisions` counts those that are kept and `bytes` what they hold;
    `model_version`, `support_size` (rows), `support_stored` and `classes` are those of the latest.
    """

    tenant: str
    task_id: str
    model: str
    model_version: int
    revision: int
    revisions: int
    support_size: int
    support_stored: bool
    classes: Classes | None
    bytes: int
    created_at: datetime
    updated_at: datetime
    expires_at: datetime | None


class Usage(NamedTuple):
    """What is stored of a tenant."""

    num_tasks: int
    num_bytes: int
    """Of revisions, models of its own and idempotent answers, with their documents, of data sets and of checkpoints."""


@dataclass(frozen=True, slots=True)
class NewRevision:
    """Hold what a new revision is made of; the store adds its number, its time and its hashes.

    `support` and `weights` are safetensors; `support_size` counts rows. `authority` "weights" stores both, or the
    weights alone where `support` is None; "rows" stores the support alone, and `weights` is None: whoever wants
    them adapts again.
    """

    tenant: str
    task_id: str
    model: str
    model_version: int
    settings: Json
    support: bytes | None
    support_size: int
    classes: Classes | None
    answer: Json
    weights: Blob | None
    authority: Authority

    def __post_init__(self) -> None:
        """Refuse weights that would not be stored, and a revision that would have none."""
        if (self.weights is None) != (self.authority == "rows"):
            raise ValueError("expected weights exactly where they are the authority; pass None with 'rows'")
        if self.support is None and self.authority == "rows":
            raise ValueError("expected the support rows where they are the authority")


@dataclass(frozen=True, slots=True)
class Revision:
    """Describe one revision, without its support rows and weights; `bytes` counts what is stored of both.

    All of it is as it was made, but `expires_at`, which is its task's at the time of reading.
    `weights_sha256` is None where the rows are the authority, `support_sha256` empty where the rows are not stored:
    a few numbers can be guessed from their hash.
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
    weights_sha256: str | None
    authority: Authority
    bytes: int
    created_at: datetime
    expires_at: datetime | None

    @property
    def support_stored(self) -> bool:
        """Whether the rows are kept."""
        return self.support_sha256 != ""


class Head(NamedTuple):
    """Tell of a revision what a prediction needs."""

    tenant: str
    task_id: str
    revision: int
    model: str
    model_version: int
    classes: Classes | None
    authority: Authority


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


class Addition(NamedTuple):
    """Ask for a revision to be added; `Store.add_revision` says what each field means.

    With `replaces_all` the task's older revisions and its idempotent answers go, and their traces too. `note` goes
    into the audit log.
    """

    new: NewRevision
    expected_latest: int
    ttl_seconds: float | Keep | None = KEEP
    idempotent: NewAnswer[Revision] | None = None
    replaces_all: bool = False
    note: Note | None = None


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
