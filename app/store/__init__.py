"""The store: models, tasks, revisions and idempotent answers, on SQLite or PostgreSQL."""

from app.store.engine import Synchronous
from app.store.records import (
    KEEP,
    Authority,
    Classes,
    IdempotentAnswer,
    Json,
    Keep,
    Model,
    ModelVersion,
    NewAnswer,
    NewRevision,
    Revision,
    RevisionData,
    Task,
)
from app.store.store import Store, open_store

__all__ = [
    "KEEP",
    "Authority",
    "Classes",
    "IdempotentAnswer",
    "Json",
    "Keep",
    "Model",
    "ModelVersion",
    "NewAnswer",
    "NewRevision",
    "Revision",
    "RevisionData",
    "Store",
    "Synchronous",
    "Task",
    "open_store",
]
