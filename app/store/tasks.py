"""Tasks: queries inside a transaction that the caller holds. What has expired is not there."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any, TypeAlias

from sqlalchemy import ColumnElement, Row, Select, and_, func, or_, select
from sqlalchemy.orm import Session, aliased

from app.store import audit
from app.store.audit_records import Note, Noted
from app.store.pages import check_limit, key_after, page_of
from app.store.records import Classes, Task
from app.store.tables import RevisionRow, TaskRow
from innerloop.errors import RevisionConflict, TaskNotFound

_TaskColumns: TypeAlias = Row[TaskRow, int, int, str, Classes | None, int, Any]


def task(session: Session, tenant: str, task_id: str, now: datetime) -> Task:
    """Return one task; TaskNotFound."""
    found = session.execute(_tasks(tenant, now).where(TaskRow.task_id == task_id)).one_or_none()
    if found is None:
        raise no_task(task_id)
    return _record(found)


def tasks(
    session: Session, tenant: str, now: datetime, models: Sequence[str] | None, after: str | None, limit: int
) -> tuple[list[Task], str | None]:
    """Return a page of a tenant's tasks by id."""
    check_limit(limit)
    query = _tasks(tenant, now).order_by(TaskRow.task_id).limit(limit + 1)
    if models is not None:
        query = query.where(TaskRow.model.in_(models))
    id_after = key_after("tasks", after)
    if id_after is not None:
        query = query.where(TaskRow.task_id > id_after)
    found: Sequence[_TaskColumns] = session.execute(query).all()
    rows, cursor = page_of(found, limit, "tasks", lambda row: row[0].task_id)
    return [_record(row) for row in rows], cursor


def newest(session: Session, tenant: str, now: datetime, limit: int) -> list[tuple[str, int]]:
    """Return id and latest revision of a tenant's tasks, those that changed last first."""
    query = select(TaskRow.task_id, TaskRow.latest_revision).where(TaskRow.tenant == tenant, live(now))
    found = session.execute(query.order_by(TaskRow.updated_at.desc(), TaskRow.task_id).limit(limit))
    return [(task_id, revision) for task_id, revision in found]


def locked_task(session: Session, tenant: str, task_id: str) -> TaskRow | None:
    """Return the task's row and keep others from changing it until the transaction ends."""
    return session.get(TaskRow, (tenant, task_id), with_for_update=True)


def set_expiry(
    session: Session, tenant: str, task_id: str, expires_at: datetime | None, now: datetime, note: Note | None
) -> None:
    """Set when a task expires, None for never; see `Store.set_expiry`."""
    row = locked_task(session, tenant, task_id)
    if row is None or not is_live(row, now):
        raise no_task(task_id)
    if note is not None and row.expires_at != expires_at:
        audit.add(session.connection(), [Noted(tenant, task_id, row.latest_revision, note)], now)
    row.expires_at = expires_at
    row.updated_at = now


def check_latest(session: Session, tenant: str, task_id: str, latest: int, now: datetime) -> None:
    """Keep a task as it is until the transaction ends; TaskNotFound, RevisionConflict unless `latest` is its latest."""
    row = locked_task(session, tenant, task_id)
    if row is None or not is_live(row, now):
        raise no_task(task_id)
    if row.latest_revision != latest:
        raise RevisionConflict(f"the task {task_id!r} is at revision {row.latest_revision} by now, not at {latest}")


def is_live(row: TaskRow, now: datetime) -> bool:
    """Return whether the task is there: neither deleted nor expired."""
    return row.latest_revision > 0 and (row.expires_at is None or row.expires_at > now)


def live(now: datetime) -> ColumnElement[bool]:
    """Return `is_live` as a condition of a query."""
    not_expired = or_(TaskRow.expires_at.is_(None), TaskRow.expires_at > now)
    return and_(TaskRow.latest_revision > 0, not_expired)


def no_task(task_id: str) -> TaskNotFound:
    """Make the error of a task that is not there."""
    return TaskNotFound(f"there is no task {task_id}; it was never adapted, was deleted or has expired")


def of_task(revision: type[RevisionRow]) -> ColumnElement[bool]:
    """Return the condition that joins revisions to their task."""
    return and_(revision.tenant == TaskRow.tenant, revision.task_id == TaskRow.task_id)


def _tasks(tenant: str, now: datetime) -> Select[TaskRow, int, int, str, Classes | None, int, Any]:
    kept = aliased(RevisionRow)
    num_kept = select(func.count(kept.revision)).where(of_task(kept)).scalar_subquery()
    num_bytes = select(func.sum(kept.bytes)).where(of_task(kept)).scalar_subquery()
    columns = select(
        TaskRow,
        RevisionRow.model_version,
        RevisionRow.support_size,
        RevisionRow.support_sha256,
        RevisionRow.classes,
        num_kept,
        num_bytes,
    )
    is_latest = and_(of_task(RevisionRow), RevisionRow.revision == TaskRow.latest_revision)
    return columns.join(RevisionRow, is_latest).where(TaskRow.tenant == tenant, live(now))


def _record(found: _TaskColumns) -> Task:
    row, model_version, support_size, support_sha256, classes, num_kept, num_bytes = found
    return Task(
        tenant=row.tenant,
        task_id=row.task_id,
        model=row.model or "",
        model_version=model_version,
        revision=row.latest_revision,
        revisions=num_kept,
        support_size=support_size,
        support_stored=support_sha256 != "",
        classes=classes,
        bytes=int(num_bytes),  # PostgreSQL sums to a numeric
        created_at=row.created_at,
        updated_at=row.updated_at,
        expires_at=row.expires_at,
    )
