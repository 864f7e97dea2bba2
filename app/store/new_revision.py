"""A new revision: its number, its row, its task and the answer to the request, all or nothing."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from hashlib import sha256

from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from app.store import idempotency
from app.store.deletion import clear, prune
from app.store.documents import as_stored
from app.store.foreign_errors import refused_as
from app.store.records import KEEP, Keep, NewAnswer, NewRevision, Revision
from app.store.revisions import revision_record
from app.store.tables import RevisionRow, TaskRow
from app.store.tasks import is_live, locked_task
from innerloop.errors import RevisionConflict, VersionNotFound


@dataclass(frozen=True, slots=True)
class Hashed:
    """Hold a new revision and the sha256 of its blobs, made before the transaction begins."""

    new: NewRevision
    support_sha256: str
    weights_sha256: str


def hashed(new: NewRevision) -> Hashed:
    """Hash the blobs of a new revision."""
    return Hashed(new, sha256(new.support).hexdigest(), sha256(new.weights).hexdigest())


def add_revision(
    session: Session,
    revision: Hashed,
    *,
    expected_latest: int,
    ttl_seconds: float | Keep | None,
    keep_revisions: int,
    now: datetime,
    idempotent: NewAnswer[Revision] | None,
) -> Revision:
    """Add a revision; see `Store.add_revision`."""
    new = revision.new
    task = _locked_or_made(session, new, now)
    # Before the conflict: the same request, sent to two replicas, must find its answer.
    if idempotent is not None:
        idempotency.refuse_known(session, new.tenant, idempotent.route, idempotent.key)
    if task.latest_revision and not is_live(task, now):
        clear(session, task, now)
    _check_latest(task, expected_latest)
    _advance(task, new, ttl_seconds, now)
    row = _insert(session, revision, task.latest_revision, now)
    prune(session, task, keep_revisions)
    added = revision_record(row, task.expires_at)
    if idempotent is not None:
        idempotency.add_new(
            session, idempotent, added, tenant=new.tenant, task_id=new.task_id, created_at=added.created_at
        )
    return added


def _locked_or_made(session: Session, new: NewRevision, now: datetime) -> TaskRow:
    row = locked_task(session, new.tenant, new.task_id)
    if row is not None:
        return row
    made = TaskRow(
        tenant=new.tenant,
        task_id=new.task_id,
        latest_revision=0,
        last_revision_ever=0,
        created_at=now,
        updated_at=now,
    )
    try:
        with session.begin_nested():
            session.add(made)
    except IntegrityError:  # somebody else made it since
        return session.get_one(TaskRow, (new.tenant, new.task_id), with_for_update=True)
    return made


def _check_latest(task: TaskRow, expected_latest: int) -> None:
    if task.latest_revision != expected_latest:
        detail = f"expected revision {expected_latest} to be the latest of {task.task_id}"
        raise RevisionConflict(f"{detail}, got {task.latest_revision}; read the task again")


def _advance(task: TaskRow, new: NewRevision, ttl_seconds: float | Keep | None, now: datetime) -> None:
    if task.latest_revision == 0:
        task.created_at = now
    task.model = new.model
    task.last_revision_ever += 1
    task.latest_revision = task.last_revision_ever
    task.updated_at = now
    if ttl_seconds is not KEEP:
        task.expires_at = None if ttl_seconds is None else now + timedelta(seconds=ttl_seconds)


def _insert(session: Session, revision: Hashed, number: int, now: datetime) -> RevisionRow:
    new = revision.new
    row = RevisionRow(
        tenant=new.tenant,
        task_id=new.task_id,
        revision=number,
        model=new.model,
        model_version=new.model_version,
        authority=new.authority,
        bytes=len(new.support) + len(new.weights),
        support_size=new.support_size,
        support_sha256=revision.support_sha256,
        weights_sha256=revision.weights_sha256,
        created_at=now,
        classes=new.classes,
        settings=as_stored(new.settings),
        answer=as_stored(new.answer),
        support=new.support,
        weights=new.weights,
    )
    session.add(row)
    with refused_as(VersionNotFound(f"{new.model} has no version {new.model_version}")):
        session.flush()
    return row
