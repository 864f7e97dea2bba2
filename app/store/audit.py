"""The audit log: entries inside a transaction, or on a connection, that the caller holds. They are never changed."""

import secrets
from collections.abc import Sequence
from datetime import datetime
from itertools import count

from sqlalchemy import Connection, delete, select
from sqlalchemy.orm import Session

from app.store.audit_records import AuditEntry, Note, Noted
from app.store.driver import driver_of
from app.store.pages import check_limit, key_after, page_of
from app.store.tables import AuditRow

EXPIRED = Note("expire")
_COLUMNS = "entry_id, at, tenant, key_id, action, task_id, revision, request_id"
_MAX_COUNT = 16**6
_numbers = count()
_process = secrets.token_hex(6)  # so that no two processes give the same id


def add(connection: Connection, entries: Sequence[Noted], now: datetime) -> None:
    """Add entries, in their order."""
    if not entries:
        return
    driver = driver_of(connection)
    moment = driver.moment(now)
    rows = [
        (
            _new_id(now),
            moment,
            one.tenant,
            one.note.key_id,
            one.note.action,
            one.task_id,
            one.revision,
            one.note.request_id,
        )
        for one in entries
    ]
    connection.exec_driver_sql(f"INSERT INTO audit ({_COLUMNS}) VALUES ({driver.marks(len(rows[0]))})", rows)


def entries(
    session: Session, tenant: str, task_id: str | None, after: str | None, limit: int
) -> tuple[list[AuditEntry], str | None]:
    """Return a page of a tenant's entries, the newest first, those of one task when it is named."""
    check_limit(limit)
    query = select(AuditRow).where(AuditRow.tenant == tenant).order_by(AuditRow.entry_id.desc()).limit(limit + 1)
    if task_id is not None:
        query = query.where(AuditRow.task_id == task_id)
    older_than = key_after("audit", after)
    if older_than is not None:
        query = query.where(AuditRow.entry_id < older_than)
    rows, cursor = page_of(session.scalars(query).all(), limit, "audit", lambda row: row.entry_id)
    return [_record(row) for row in rows], cursor


def purge(session: Session, before: datetime, limit: int) -> int:
    """Delete up to `limit` entries made before a moment; return how many."""
    old = select(AuditRow.entry_id).where(AuditRow.entry_id < _time_part(before)).order_by(AuditRow.entry_id)
    gone = delete(AuditRow).where(AuditRow.entry_id.in_(old.limit(limit))).returning(AuditRow.entry_id)
    return len(session.execute(gone, execution_options={"synchronize_session": False}).all())


def _new_id(now: datetime) -> str:
    """Return an id of 32 hexadecimal digits that begins with the moment: new entries then lie beside each other."""
    return f"{_time_part(now)}{next(_numbers) % _MAX_COUNT:06x}{_process}"


def _time_part(moment: datetime) -> str:
    return f"{int(moment.timestamp() * 1e6):014x}"


def _record(row: AuditRow) -> AuditEntry:
    return AuditEntry(
        row.entry_id, row.at, row.tenant, row.key_id, row.action, row.task_id, row.revision, row.request_id
    )
