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
)
from sqlalchemy.orm import DeclarativeBase, Mapped, MappedColumn, mapped_column

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


def storable(number: int) -> int:
    """Return the number of a version or revision, or 0, which none has, where no column can hold it."""
    return number if 0 < number <= MAX_INTEGER else 0


class ModelRow(Base):
    """A model: a name, and the version that is taken when none is named."""

    __tablename__ = "models"

    name: Mapped[str] = mapped_column(Name, primary_key=True)
    active_version: Mapped[int | None]
    created_at: Mapped[datetime] = mapped_column(UtcDateTime)


class ModelVersionRow(Base):
    """One version of a model; never changed."""

    __tablename__ = "model_versions"

    name: Mapped[str] = mapped_column(Name, ForeignKey("models.name"), primary_key=True)
    version: Mapped[int] = mapped_column(primary_key=True)
    created_at: Mapped[datetime] = mapped_column(UtcDateTime)
    sha256: Mapped[str]
    bytes: Mapped[int] = mapped_column(BigInteger)
    card: Mapped[Json] = mapped_column(Document)
    weights: Mapped[Blob] = _blob()


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
    """One revision of a task; never changed, so nothing here updates it."""

    __tablename__ = "revisions"
    __table_args__ = (
        ForeignKeyConstraint(["tenant", "task_id"], ["tasks.tenant", "tasks.task_id"]),
        ForeignKeyConstraint(["model", "model_version"], ["model_versions.name", "model_versions.version"]),
        CheckConstraint("authority IN ('weights', 'support')", name="ck_revisions_authority"),
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
    weights_sha256: Mapped[str]
    created_at: Mapped[datetime] = mapped_column(UtcDateTime)
    classes: Mapped[Classes | None] = mapped_column(Document)
    settings: Mapped[Json] = mapped_column(Document)
    answer: Mapped[Json] = mapped_column(Document)
    support: Mapped[Blob] = _blob()
    weights: Mapped[Blob] = _blob()


class IdempotentAnswerRow(Base):
    """The answer to a request with an idempotency key."""

    __tablename__ = "idempotent_answers"
    __table_args__ = (
        Index("ix_idempotent_answers_task", "tenant", "task_id"),
        Index("ix_idempotent_answers_created_at", "created_at"),
    )

    tenant: Mapped[str] = mapped_column(Name, primary_key=True)
    route: Mapped[str] = mapped_column(Name, primary_key=True)
    key: Mapped[str] = mapped_column(Name, primary_key=True)
    body_sha256: Mapped[str]
    status: Mapped[int]
    task_id: Mapped[str | None] = mapped_column(Name)
    created_at: Mapped[datetime] = mapped_column(UtcDateTime)
    answer: Mapped[Json] = mapped_column(Document)
