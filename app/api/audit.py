"""What the audit log is told of a request."""

from typing import NamedTuple

from fastapi import Request

from app.api.context import Context, now
from app.api.identity import STATE
from app.store import AuditAction, AuditEntry, Identity, Note
from app.telemetry import request_id_of
from innerloop.wire import AuditInfo


class Asker(NamedTuple):
    """By whose key, and in which request, something is done; `is_noted` is false where no log is kept."""

    key_id: str | None
    request_id: str
    is_noted: bool

    def note(self, action: AuditAction) -> Note | None:
        """Return what the log is told of an action, None where none is kept."""
        return Note(action, self.key_id, self.request_id) if self.is_noted else None


def asker_of(request: Request, context: Context) -> Asker:
    """Return who asks, as the log names them."""
    identity: Identity | None = request.scope.get("state", {}).get(STATE)
    return Asker(identity.key_id if identity else None, request_id_of(request.scope), context.settings.audit_days > 0)


def note_download(
    context: Context, tenant: str, task_id: str, revision: int, asker: Asker, action: AuditAction
) -> None:
    """Note that what a task holds is handed out: before it is, so that none goes out unnoted. Blocks."""
    note = asker.note(action)
    if note is not None:
        context.store.add_audit(tenant, task_id, revision, note, now=now())


def audit_info(entry: AuditEntry) -> AuditInfo:
    """Return an entry as the wire shows it."""
    return AuditInfo(
        at=entry.at,
        action=entry.action,
        task_id=entry.task_id,
        revision=entry.revision,
        key_id=entry.key_id,
        request_id=entry.request_id,
    )
