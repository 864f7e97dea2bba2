"""Additions: what a group of new revisions makes of its tasks, worked out without a database.

A group leaves the rows that its additions would leave one after the other; one that is refused changes nothing.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from hashlib import sha256
from typing import NamedTuple, TypeAlias

from app.store.audit import EXPIRED
from app.store.audit_records import Noted
from app.store.documents import Document, as_document
from app.store.idempotency import answered_meanwhile
from app.store.records import KEEP, Addition, Keep, NewAnswer, Revision
from innerloop.errors import RevisionConflict

TaskKey: TypeAlias = tuple[str, str]  # tenant and id
AnswerKey: TypeAlias = tuple[str, str, str]  # tenant, route and key


class Written(NamedTuple):
    """Hold an addition with its hashes and documents, which are made before the transaction begins."""

    addition: Addition
    support_sha256: str
    weights_sha256: str | None
    classes: str | None
    settings: Document
    answer: Document

    @property
    def document_bytes(self) -> int:
        """Bytes of the documents."""
        return len(self.classes or "") + len(self.settings.text) + len(self.answer.text)


class Made(NamedTuple):
    """Hold a revision that the group makes, and its answer as text, where it has one."""

    written: Written
    revision: Revision
    answer: str | None

    def answer_key(self) -> AnswerKey:
        """Return the key of the answer."""
        idempotent = _named(self.written.addition.idempotent)
        return self.revision.tenant, idempotent.route, idempotent.key


@dataclass(slots=True)
class TaskDraft:
    """A task as a group finds it, and then as it leaves it.

    `is_stored`: it has a row. `is_cleared`: all that was stored of it goes, as it had expired or is replaced.
    """

    tenant: str
    task_id: str
    created_at: datetime
    latest: int = 0
    last_ever: int = 0
    expires_at: datetime | None = None
    is_stored: bool = False
    is_cleared: bool = False
    made: list[Made] = field(default_factory=list)

    def latest_at(self, now: datetime) -> int:
        """Return the latest revision, 0 when the task has none or has expired."""
        return self.latest if self.expires_at is None or self.expires_at > now else 0


def written(addition: Addition) -> Written:
    """Hash the blobs of an addition and write its documents; ValueError where one is no JSON."""
    new = addition.new
    return Written(
        addition,
        "" if new.support is None else sha256(new.support).hexdigest(),
        None if new.weights is None else sha256(new.weights).hexdigest(),
        None if new.classes is None else as_document(new.classes).text,
        as_document(new.settings),
        as_document(new.answer),
    )


class Group:
    """Take additions one after the other; `tasks` then holds those that changed.

    `stored` are the tasks that have a row, `answered` the keys that are answered, each with its task's id.
    """

    def __init__(self, stored: Iterable[TaskDraft], answered: dict[AnswerKey, str | None], now: datetime) -> None:
        self._drafts = {(draft.tenant, draft.task_id): draft for draft in stored}
        self._answered = answered
        self._now = now
        self.noted: list[Noted] = []
        """What the audit log is to hold of all this."""

    def changed(self) -> list[TaskDraft]:
        """Return the tasks that have new revisions, by tenant and id."""
        return sorted((draft for draft in self._drafts.values() if draft.made), key=_key)

    def add(self, one: Written) -> Revision:
        """Add a revision; IdempotencyInFlight, RevisionConflict, and what `answer_of` raises."""
        new, expected_latest, ttl_seconds, idempotent, *_ = one.addition
        # Before the conflict: the same request, sent to two replicas, must find its answer.
        if idempotent is not None and (new.tenant, idempotent.route, idempotent.key) in self._answered:
            raise answered_meanwhile(idempotent.key)
        key = (new.tenant, new.task_id)
        draft = self._drafts.get(key) or TaskDraft(*key, created_at=self._now)
        latest = draft.latest_at(self._now)
        _check_latest(new.task_id, latest, expected_latest)
        expires_at = _expiry(draft.expires_at if latest else None, ttl_seconds, self._now)
        revision = _revision(one, draft.last_ever + 1, self._now, expires_at)
        answer = None if idempotent is None else as_document(idempotent.answer_of(revision)).text
        self._change(draft, latest, Made(one, revision, answer))  # from here on nothing is refused
        return revision

    def _change(self, draft: TaskDraft, latest: int, made: Made) -> None:
        if draft.latest and not latest:
            self.noted.append(Noted(draft.tenant, draft.task_id, draft.latest, EXPIRED))
        if draft.latest and (not latest or made.written.addition.replaces_all):
            self._clear(draft)
        if not latest:
            draft.created_at = self._now
        draft.expires_at = made.revision.expires_at
        draft.latest = draft.last_ever = made.revision.revision
        draft.made.append(made)
        note = made.written.addition.note
        if note is not None:
            self.noted.append(Noted(draft.tenant, draft.task_id, draft.latest, note))
        self._drafts[_key(draft)] = draft
        if made.answer is not None:
            self._answered[made.answer_key()] = draft.task_id

    def _clear(self, draft: TaskDraft) -> None:
        """Drop all of an expired or replaced task but its last number."""
        draft.is_cleared = True
        draft.made.clear()
        of_task = [key for key, task_id in self._answered.items() if (key[0], task_id) == _key(draft)]
        for key in of_task:
            del self._answered[key]


def _key(draft: TaskDraft) -> TaskKey:
    return draft.tenant, draft.task_id


def _named(idempotent: NewAnswer[Revision] | None) -> NewAnswer[Revision]:
    assert idempotent is not None
    return idempotent


def _check_latest(task_id: str, latest: int, expected: int) -> None:
    if latest != expected:
        detail = f"expected revision {expected} to be the latest of {task_id}, got {latest}; read the task again"
        raise RevisionConflict(detail)


def _expiry(before: datetime | None, ttl_seconds: float | Keep | None, now: datetime) -> datetime | None:
    if ttl_seconds is KEEP:
        return before
    return None if ttl_seconds is None else now + timedelta(seconds=ttl_seconds)


def _revision(one: Written, number: int, now: datetime, expires_at: datetime | None) -> Revision:
    new = one.addition.new
    return Revision(
        tenant=new.tenant,
        task_id=new.task_id,
        revision=number,
        model=new.model,
        model_version=new.model_version,
        settings=one.settings.value,
        support_sha256=one.support_sha256,
        support_size=new.support_size,
        classes=new.classes,
        answer=one.answer.value,
        weights_sha256=one.weights_sha256,
        authority=new.authority,
        bytes=len(new.support or b"") + len(new.weights or b""),
        created_at=now,
        expires_at=expires_at,
    )
