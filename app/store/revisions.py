"""Revisions of one task: queries inside a transaction that the caller holds. `lookups` reads those of many."""

from datetime import datetime

from sqlalchemy import ColumnElement, select
from sqlalchemy.orm import Session

from app.store.pages import check_limit, number_after, page_of
from app.store.records import Revision
from app.store.tables import RevisionRow, TaskRow, storable
from app.store.tasks import live, no_task, of_task


def revisions(
    session: Session, tenant: str, task_id: str, now: datetime, after: str | None, limit: int
) -> tuple[list[Revision], str | None]:
    """Return a page of a task's revisions, the newest first; TaskNotFound."""
    check_limit(limit)
    query = select(RevisionRow, TaskRow.expires_at).join(TaskRow, of_task(RevisionRow))
    query = query.where(*_of(tenant, task_id, now)).order_by(RevisionRow.revision.desc()).limit(limit + 1)
    older_than = number_after("revisions", after)
    if older_than is not None:
        query = query.where(RevisionRow.revision < storable(older_than))
    found = session.execute(query).all()
    if not found and not _is_there(session, tenant, task_id, now):
        raise no_task(task_id)
    rows, cursor = page_of(found, limit, "revisions", lambda row: row[0].revision)
    return [_record(row, expires_at) for row, expires_at in rows], cursor


def _record(row: RevisionRow, expires_at: datetime | None) -> Revision:
    """Return the record of a row."""
    return Revision(
        tenant=row.tenant,
        task_id=row.task_id,
        revision=row.revision,
        model=row.model,
        model_version=row.model_version,
        settings=row.settings,
        support_sha256=row.support_sha256,
        support_size=row.support_size,
        classes=row.classes,
        answer=row.answer,
        weights_sha256=row.weights_sha256,
        authority=row.authority,
        bytes=row.bytes,
        created_at=row.created_at,
        expires_at=expires_at,
    )


def _of(tenant: str, task_id: str, now: datetime) -> tuple[ColumnElement[bool], ...]:
    return TaskRow.tenant == tenant, TaskRow.task_id == task_id, live(now)


def _is_there(session: Session, tenant: str, task_id: str, now: datetime) -> bool:
    return session.scalar(select(TaskRow.task_id).where(*_of(tenant, task_id, now))) is not None
