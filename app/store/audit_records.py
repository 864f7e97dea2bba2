"""Records of the audit log: what the store takes and gives back of it."""

from dataclasses import dataclass
from datetime import datetime
from typing import Literal, NamedTuple, TypeAlias, get_args

AuditAction: TypeAlias = Literal[
    "adapt", "append", "remove-row", "set-ttl", "delete", "expire", "download-support", "download-weights"
]
AUDIT_ACTIONS: tuple[AuditAction, ...] = get_args(AuditAction)


class Note(NamedTuple):
    """Say what was done, by whose key and in which request; the store adds when, and to which revision.

    `key_id` is None while no key is configured, and of what the service does by itself.
    """

    action: AuditAction
    key_id: str | None = None
    request_id: str | None = None


class AuditEntry(NamedTuple):
    """Say who did what to a task, and when; the later, the larger its id."""

    entry_id: str
    at: datetime
    tenant: str
    key_id: str | None
    action: AuditAction
    task_id: str
    revision: int | None
    request_id: str | None


@dataclass(frozen=True, slots=True)
class Noted:
    """Hold what an entry is made of."""

    tenant: str
    task_id: str
    revision: int | None
    note: Note
