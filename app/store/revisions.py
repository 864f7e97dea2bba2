"""Revisions: queries inside a transaction that the caller holds. Those of an expired task are not there."""

from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import ColumnElement, select, tuple_
from sqlalchemy.orm import Session

from app.store.pages import check_limit, number_after, page_of
from app.store.records import Blob, Revision, RevisionKey
from app.store.tables import RevisionRow, TaskRow, storable
from app.store.tasks import live, no_task, of_task
from innerloop.errors import RevisionNotFound, TaskNotFound

KEYS_PER_QUERY = 200  # three parameters each; SQLite takes 32 766


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
    return [revision_record(row, expires_at) for row, expires_at in rows], cursor


def revision(session: Session, tenant: str, task_id: str, now: datetime, number: int | None) -> Revision:
    """Return one revision, the latest for None; TaskNotFound, RevisionNotFound."""
    query = select(RevisionRow, TaskRow.expires_at).join(TaskRow, of_task(RevisionRow))
    found = session.execute(query.where(*_is(tenant, task_id, now, number))).one_or_none()
    if found is None:
        raise _missing(session, tenant, task_id, now, number)
    row, expires_at = found
    return revision_record(row, expires_at)


def revision_support(session: Session, tenant: str, task_id: str, now: datetime, number: int | None) -> Blob:
    """Return the support rows of one revision, the latest for None; TaskNotFound, RevisionNotFound."""
    query = select(RevisionRow.support).join(TaskRow, of_task(RevisionRow))
    support = session.scalar(query.where(*_is(tenant, task_id, now, number)))
    if support is None:
        raise _missing(session, tenant, task_id, now, number)
    return support


def revision_weights(session: Session, tenant: str, task_id: str, now: datetime, number: int | None) -> Blob:
    """Return the weights of one revision, the latest for None; TaskNotFound, RevisionNotFound."""
    query = select(RevisionRow.weights).join(TaskRow, of_task(RevisionRow))
    weights = session.scalar(query.where(*_is(tenant, task_id, now, number)))
    if weights is None:
        raise _missing(session, tenant, task_id, now, number)
    return weights


def stored(session: Session, keys: Sequence[RevisionKey], now: datetime) -> set[RevisionKey]:
    """Return those of `keys` that are stored and whose task is live."""
    key = tuple_(RevisionRow.tenant, RevisionRow.task_id, RevisionRow.revision)
    query = select(RevisionRow.tenant, RevisionRow.task_id, RevisionRow.revision).join(TaskRow, of_task(RevisionRow))
    found: set[RevisionKey] = set()
    for start in range(0, len(keys), KEYS_PER_QUERY):
        chunk = [tuple(one) for one in keys[start : start + KEYS_PER_QUERY]]
        rows = session.execute(query.where(live(now), key.in_(chunk)))
        found |= {(tenant, task_id, number) for tenant, task_id, number in rows}
    return found


def revision_record(row: RevisionRow, expires_at: datetime | None) -> Revision:
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


def _is(tenant: str, task_id: str, now: datetime, number: int | None) -> tuple[ColumnElement[bool], ...]:
    wanted = TaskRow.latest_revision if number is None else storable(number)
    return *_of(tenant, task_id, now), RevisionRow.revision == wanted


def _is_there(session: Session, tenant: str, task_id: str, now: datetime) -> bool:
    return session.scalar(select(TaskRow.task_id).where(*_of(tenant, task_id, now))) is not None


def _missing(
    session: Session, tenant: str, task_id: str, now: datetime, number: int | None
) -> TaskNotFound | RevisionNotFound:
    if number is None or not _is_there(session, tenant, task_id, now):
        return no_task(task_id)
    return RevisionNotFound(f"task {task_id} has no revision {number}; GET /tasks/{task_id}/revisions lists them")
