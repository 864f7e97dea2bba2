"""Deletion: what goes when a task is deleted or expires."""

from datetime import datetime

from sqlalchemy import delete, select
from sqlalchemy.orm import Session

from app.store import audit
from app.store.audit_records import Note, Noted
from app.store.tables import IdempotentAnswerRow, RevisionRow, TaskRow
from app.store.tasks import is_live, locked_task, no_task


def delete_task(session: Session, tenant: str, task_id: str, now: datetime, note: Note | None) -> None:
    """Delete a task and leave its last number; TaskNotFound."""
    row = locked_task(session, tenant, task_id)
    if row is None or not is_live(row, now):
        raise no_task(task_id)
    if note is not None:
        audit.add(session.connection(), [Noted(tenant, task_id, row.latest_revision, note)], now)
    clear(session, row, now)


def purge_expired(session: Session, now: datetime, limit: int) -> int:
    """Delete up to `limit` expired tasks, those first that expired first; return how many."""
    expired = select(TaskRow).where(TaskRow.latest_revision > 0, TaskRow.expires_at <= now)
    # A task that another replica is at is left to it.
    batch = expired.order_by(TaskRow.expires_at).limit(limit).with_for_update(skip_locked=True)
    rows = session.scalars(batch).all()
    gone = [Noted(row.tenant, row.task_id, row.latest_revision, audit.EXPIRED) for row in rows]
    audit.add(session.connection(), gone, now)
    for row in rows:
        clear(session, row, now)
    return len(rows)


def clear(session: Session, task: TaskRow, now: datetime) -> None:
    """Delete all of a task but its id and its last number, so that a later one goes on counting."""
    of_task = {"tenant": task.tenant, "task_id": task.task_id}
    session.execute(delete(RevisionRow).filter_by(**of_task))
    session.execute(delete(IdempotentAnswerRow).filter_by(**of_task))
    task.model = None
    task.latest_revision = 0
    task.created_at = task.updated_at = now
    task.expires_at = None
