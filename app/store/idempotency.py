"""Idempotent answers: queries inside a transaction that the caller holds."""

from datetime import datetime
from typing import TypeVar

from sqlalchemy import delete, select
from sqlalchemy.orm import Session

from app.store.documents import as_document
from app.store.foreign_errors import refused_as
from app.store.records import IdempotentAnswer, NewAnswer
from app.store.tables import IdempotentAnswerRow
from innerloop.errors import IdempotencyInFlight

R = TypeVar("R")


def find(session: Session, tenant: str, route: str, key: str) -> IdempotentAnswer | None:
    """Return the answer to a request, None when there is none yet."""
    row = session.get(IdempotentAnswerRow, (tenant, route, key))
    return None if row is None else _record(row)


def add(session: Session, answer: IdempotentAnswer) -> None:
    """Add an answer; IdempotencyInFlight when another replica added one first."""
    document = as_document(answer.answer)
    row = IdempotentAnswerRow(
        tenant=answer.tenant,
        route=answer.route,
        key=answer.key,
        body_sha256=answer.body_sha256,
        status=answer.status,
        task_id=answer.task_id,
        created_at=answer.created_at,
        answer=document.value,
        bytes=len(document.text),
    )
    session.add(row)
    with refused_as(answered_meanwhile(answer.key)):
        session.flush()


def add_new(
    session: Session, new: NewAnswer[R], made: R, *, tenant: str, task_id: str | None, created_at: datetime
) -> None:
    """Add the answer to the request that made a record; IdempotencyInFlight as `add`."""
    answer = IdempotentAnswer(
        tenant=tenant,
        route=new.route,
        key=new.key,
        body_sha256=new.body_sha256,
        status=new.status,
        answer=new.answer_of(made),
        task_id=task_id,
        created_at=created_at,
    )
    add(session, answer)


def refuse_known(session: Session, tenant: str, route: str, key: str) -> None:
    """Raise IdempotencyInFlight when there is an answer already."""
    columns = select(IdempotentAnswerRow.key).filter_by(tenant=tenant, route=route, key=key)
    if session.scalar(columns) is not None:
        raise answered_meanwhile(key)


def purge(session: Session, before: datetime) -> int:
    """Delete the answers made before a moment; return how many."""
    old = delete(IdempotentAnswerRow).where(IdempotentAnswerRow.created_at < before)
    return len(session.execute(old.returning(IdempotentAnswerRow.key)).all())


def answered_meanwhile(key: str) -> IdempotencyInFlight:
    """Make the error of a key that was answered since the caller looked."""
    return IdempotencyInFlight(f"a request with the Idempotency-Key {key} was answered meanwhile; send it again")


def _record(row: IdempotentAnswerRow) -> IdempotentAnswer:
    return IdempotentAnswer(
        tenant=row.tenant,
        route=row.route,
        key=row.key,
        body_sha256=row.body_sha256,
        status=row.status,
        answer=row.answer,
        task_id=row.task_id,
        created_at=row.created_at,
    )
