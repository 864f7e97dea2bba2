"""The tables. `migrations/` makes them; a test holds the two equal.

Small columns stand before large ones: SQLite reads a row from its start, and a large value in the way of a
small one has to be walked over. Large values are deferred and raise when a row is asked for one it was not
read with.
"""

from datetime import datetime

from sqlalchemy import (
    JSON,
    BigInteger,
    CheckConstraint,
    ForeignKey,
    ForeignKeyConstraint,
    Index,
    LargeBinary,
    String,
    false,
)
from sqlalchemy.orm import DeclarativeBase, Mapped, MappedColumn, mapped_column

from app.store.audit_records import AuditAction
from app.store.job_records import JobEventKind, JobStatus
from app.store.records import Authority, Blob, Classes, Json
from app.store.timestamps import UtcDateTime

MAX_INTEGER = 2**31 - 1  # of PostgreSQL's integer

# PostgreSQL would sort by its locale; lists have the same order on both databases.
Name = String().with_variant(String(collation="C"), "postgresql")
# JSON and not JSONB, which refuses the character U+0000 and forgets the order of keys.
Document = JSON(none_as_null=True)


class Base(DeclarativeBase):
    """Hold the metadata of all tables."""


def _blob() -> MappedColumn[Blob]:
    return mapped_column(LargeBinary, deferred=True, deferred_raiseload=True)


def _size() -> MappedColumn[int]:
    """Return a column of bytes that an index has too: it came later, and stands behind what is large."""
    return mapped_column(BigInteger, server_default="0", deferred=True)


def storable(number: int) -> int:
    """Return the number of a version or revision, or 0, which none has, where no column can hold it."""
    return number if 0 < number <= MAX_INTEGER else 0


class ModelRow(Base):
    """A model: a name, the version that is taken when none is named, and the authority of revisions made of it.

    Or what is left of one whose versions were all deleted: no active version, and the last number.
    """

    __tablename__ = "models"
    __table_args__ = (CheckConstraint("authority IN ('weights', 'rows')", name="ck_models_authority"),)

    name: Mapped[str] = mapped_column(Name, primary_key=True)
    active_version: Mapped[int | None]
    created_at: Mapped[datetime] = mapped_column(UtcDateTime)
    last_version_ever: Mapped[int] = mapped_column(server_default="0")
    authority: Mapped[Authority] = mapped_column(String, server_default="weights")


class ModelVersionRow(Base):
    """One version of a model; never changed."""

    __tablename__ = "model_versions"
    __table_args__ = (Index("ix_model_versions_usage", "name", "bytes", "card_bytes"),)

    name: Mapped[str] = mapped_column(Name, ForeignKey("models.name"), primary_key=True)
    version: Mapped[int] = mapped_column(primary_key=True)
    created_at: Mapped[datetime] = mapped_column(UtcDateTime)
    sha256: Mapped[str]
    bytes: Mapped[int] = mapped_column(BigInteger)
    card: Mapped[Json] = mapped_column(Document)
    weights: Mapped[Blob] = _blob()
    card_bytes: Mapped[int] = _size()


class TaskRow(Base):
    """A task, or what is left of one: `latest_revision` 0, its last number, and nothing else of it."""

    __tablename__ = "tasks"
    __table_args__ = (
        Index("ix_tasks_model", "tenant", "model", "task_id"),
        Index("ix_tasks_expires_at", "expires_at"),
    )

    tenant: Mapped[str] = mapped_column(Name, primary_key=True)
    task_id: Mapped[str] = mapped_column(Name, primary_key=True)
    model: Mapped[str | None] = mapped_column(Name)
    latest_revision: Mapped[int]
    last_revision_ever: Mapped[int]
    created_at: Mapped[datetime] = mapped_column(UtcDateTime)
    updated_at: Mapped[datetime] = mapped_column(UtcDateTime)
    expires_at: Mapped[datetime | None] = mapped_column(UtcDateTime)


class RevisionRow(Base):
    """One revision of a task; never changed, so nothing here updates it. Without weights, its rows are all of it.

    Where the rows are not stored, `support` and `support_sha256` are empty.
    """

    __tablename__ = "revisions"
    __table_args__ = (
        ForeignKeyConstraint(["tenant", "task_id"], ["tasks.tenant", "tasks.task_id"]),
        ForeignKeyConstraint(["model", "model_version"], ["model_versions.name", "model_versions.version"]),
        CheckConstraint("authority IN ('weights', 'rows')", name="ck_revisions_authority"),
        CheckConstraint("(weights IS NULL) = (authority = 'rows')", name="ck_revisions_weights"),
        Index("ix_revisions_model", "model", "model_version"),
        Index("ix_revisions_usage", "tenant", "bytes", "document_bytes"),
    )

    tenant: Mapped[str] = mapped_column(Name, primary_key=True)
    task_id: Mapped[str] = mapped_column(Name, primary_key=True)
    revision: Mapped[int] = mapped_column(primary_key=True)
    model: Mapped[str] = mapped_column(Name)
    model_version: Mapped[int]
    authority: Mapped[Authority] = mapped_column(String)
    bytes: Mapped[int] = mapped_column(BigInteger)
    support_size: Mapped[int]
    support_sha256: Mapped[str]
    weights_sha256: Mapped[str | None]
    created_at: Mapped[datetime] = mapped_column(UtcDateTime)
    classes: Mapped[Classes | None] = mapped_column(Document)
    settings: Mapped[Json] = mapped_column(Document)
    answer: Mapped[Json] = mapped_column(Document)
    support: Mapped[Blob] = _blob()
    weights: Mapped[Blob | None] = mapped_column(LargeBinary, deferred=True, deferred_raiseload=True)
    document_bytes: Mapped[int] = _size()


class IdempotentAnswerRow(Base):
    """The answer to a request with an idempotency key."""

    __tablename__ = "idempotent_answers"
    __table_args__ = (
        Index("ix_idempotent_answers_task", "tenant", "task_id"),
        Index("ix_idempotent_answers_created_at", "created_at"),
        Index("ix_idempotent_answers_usage", "tenant", "bytes"),
    )

    tenant: Mapped[str] = mapped_column(Name, primary_key=True)
    route: Mapped[str] = mapped_column(Name, primary_key=True)
    key: Mapped[str] = mapped_column(Name, primary_key=True)
    body_sha256: Mapped[str]
    status: Mapped[int]
    task_id: Mapped[str | None] = mapped_column(Name)
    created_at: Mapped[datetime] = mapped_column(UtcDateTime)
    answer: Mapped[Json] = mapped_column(Document)
    bytes: Mapped[int] = mapped_column(BigInteger, server_default="0")


class DatasetRow(Base):
    """A data set; never changed."""

    __tablename__ = "data_sets"

    tenant: Mapped[str] = mapped_column(Name, primary_key=True)
    name: Mapped[str] = mapped_column(Name, primary_key=True)
    created_at: Mapped[datetime] = mapped_column(UtcDateTime)
    kind: Mapped[str]
    sha256: Mapped[str]
    bytes: Mapped[int] = mapped_column(BigInteger)
    spec: Mapped[Json] = mapped_column(Document)
    info: Mapped[Json] = mapped_column(Document)
    data: Mapped[Blob] = _blob()


class JobRow(Base):
    """A job, its place in the queue, and who works on it; `job_states` draws its states.

    The data set is named and no foreign key: what has ended may outlive it. `furthest_iteration` is the
    highest that was ever reported, `claimed_at` when a worker last took it. Purged, it has neither events nor a
    checkpoint any more.
    """

    __tablename__ = "jobs"
    __table_args__ = (
        CheckConstraint("status IN ('queued', 'running', 'succeeded', 'failed', 'cancelled')", name="ck_jobs_status"),
        Index("ix_jobs_queue", "status", "created_at"),
        Index("ix_jobs_list", "tenant", "created_at", "job_id"),
        Index("ix_jobs_turns", "tenant", "claimed_at"),
        Index("ix_jobs_purge", "is_purged", "finished_at"),
    )

    job_id: Mapped[str] = mapped_column(Name, primary_key=True)
    tenant: Mapped[str] = mapped_column(Name)
    name: Mapped[str] = mapped_column(Name)
    status: Mapped[JobStatus] = mapped_column(String)
    dataset: Mapped[str | None] = mapped_column(Name)
    dataset_sha256: Mapped[str | None]
    model_version: Mapped[int | None]
    created_at: Mapped[datetime] = mapped_column(UtcDateTime)
    started_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    finished_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    cancel_requested: Mapped[bool]
    worker: Mapped[str | None]
    lease_until: Mapped[datetime | None] = mapped_column(UtcDateTime)
    attempt: Mapped[int]
    crashes: Mapped[int]
    furthest_iteration: Mapped[int]
    last_event: Mapped[int]
    error: Mapped[Json | None] = mapped_column(Document)
    progress: Mapped[Json] = mapped_column(Document)
    plan: Mapped[Json] = mapped_column(Document)
    request: Mapped[Json] = mapped_column(Document)
    claimed_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    is_purged: Mapped[bool] = mapped_column(server_default=false())


class JobEventRow(Base):
    """One thing that happened to a job; numbered from 1 without a gap, and never changed."""

    __tablename__ = "job_events"
    __table_args__ = (CheckConstraint("kind IN ('progress', 'status', 'end')", name="ck_job_events_kind"),)

    job_id: Mapped[str] = mapped_column(Name, ForeignKey("jobs.job_id"), primary_key=True)
    event_id: Mapped[int] = mapped_column(primary_key=True)
    kind: Mapped[JobEventKind] = mapped_column(String)
    created_at: Mapped[datetime] = mapped_column(UtcDateTime)
    data: Mapped[Json] = mapped_column(Document)


class CheckpointRow(Base):
    """The last checkpoint of a job."""

    __tablename__ = "checkpoints"

    job_id: Mapped[str] = mapped_column(Name, ForeignKey("jobs.job_id"), primary_key=True)
    attempt: Mapped[int]
    iteration: Mapped[int]
    bytes: Mapped[int] = mapped_column(BigInteger)
    sha256: Mapped[str]
    created_at: Mapped[datetime] = mapped_column(UtcDateTime)
    data: Mapped[Blob] = _blob()


class ApiKeyRow(Base):
    """A key: the hash of it, whose it is, and what it may be used for; revoked, it stays."""

    __tablename__ = "api_keys"
    __table_args__ = (
        Index("ix_api_keys_sha256", "sha256", unique=True),
        Index("ix_api_keys_tenant", "tenant", "key_id"),
    )

    key_id: Mapped[str] = mapped_column(Name, primary_key=True)
    tenant: Mapped[str] = mapped_column(Name)
    name: Mapped[str | None] = mapped_column(Name)
    scopes: Mapped[str]
    sha256: Mapped[str]
    created_at: Mapped[datetime] = mapped_column(UtcDateTime)
    revoked_at: Mapped[datetime | None] = mapped_column(UtcDateTime)


class AuditRow(Base):
    """One thing that was done to a task; never changed. It outlives the task, whose id alone it has of it."""

    __tablename__ = "audit"
    __table_args__ = (
        Index("ix_audit_tenant", "tenant", "entry_id"),
        Index("ix_audit_task", "tenant", "task_id", "entry_id"),
    )

    entry_id: Mapped[str] = mapped_column(Name, primary_key=True)
    at: Mapped[datetime] = mapped_column(UtcDateTime)
    tenant: Mapped[str] = mapped_column(Name)
    key_id: Mapped[str | None] = mapped_column(Name)
    action: Mapped[AuditAction] = mapped_column(String)
    task_id: Mapped[str] = mapped_column(Name)
    revision: Mapped[int | None]
    request_id: Mapped[str | None]
