"""New revisions: a group of additions in one transaction, on a connection that the caller holds.

Rows are locked and made in the order of their keys, so that no two groups wait for each other in a circle. Of
PostgreSQL that holds as long as no other replica makes one of the new tasks meanwhile: then the group starts over.
"""

from collections.abc import Sequence
from datetime import datetime
from functools import cache
from operator import itemgetter
from typing import Any, TypeAlias

from sqlalchemy import Connection

from app.store import audit
from app.store.additions import AnswerKey, Group, Made, TaskDraft, TaskKey, Written
from app.store.driver import Driver, driver_of
from app.store.foreign_errors import refused_as
from app.store.idempotency import answered_meanwhile
from app.store.records import Revision
from innerloop.errors import VersionNotFound

Fields: TypeAlias = tuple[Any, ...]
Moment: TypeAlias = str | datetime | None

_TASK = "latest_revision, last_revision_ever, model, created_at, updated_at, expires_at, tenant, task_id"
_REVISION = (
    "tenant, task_id, revision, model, model_version, authority, bytes, support_size, support_sha256, "
    "weights_sha256, created_at, classes, settings, answer, support, weights, document_bytes"
)
_ANSWER = "tenant, route, key, body_sha256, status, task_id, created_at, answer, bytes"


class TaskMadeMeanwhile(Exception):
    """Another replica made one of the group's new tasks; nothing was stored, start over."""


def add_revisions(
    connection: Connection, group: Sequence[Written], *, keep_revisions: int, now: datetime
) -> list[Revision | Exception]:
    """Add revisions, each after the one before it; one that is refused is an error at its place.

    What the database refuses, VersionNotFound and IdempotencyInFlight, is raised and is of any of them: add each
    in a transaction of its own. TaskMadeMeanwhile as it says.
    """
    driver = driver_of(connection)
    drafts = _locked_tasks(connection, driver, group, now)
    made = Group(drafts, _answered(connection, driver, group), now)
    results = [_added(made, one) for one in group]
    _write(connection, driver, made.changed(), keep_revisions, now)
    audit.add(connection, made.noted, now)
    return results


def _added(group: Group, one: Written) -> Revision | Exception:
    try:
        return group.add(one)
    except Exception as error:  # noqa: BLE001  # a fault in `answer_of` is its caller's alone as well
        return error


def _locked_tasks(connection: Connection, driver: Driver, group: Sequence[Written], now: datetime) -> list[TaskDraft]:
    keys: list[TaskKey] = list(dict.fromkeys((one.addition.new.tenant, one.addition.new.task_id) for one in group))
    found = connection.exec_driver_sql(_locked_query(driver), driver.asked_rows(keys)).fetchall()
    return [
        TaskDraft(
            tenant, task_id, driver.to_moment(created_at) or now, latest, ever, driver.to_moment(expires_at), True
        )
        for tenant, task_id, created_at, latest, ever, expires_at in found
    ]


def _answered(connection: Connection, driver: Driver, group: Sequence[Written]) -> dict[AnswerKey, str | None]:
    additions = [one.addition for one in group]
    keys = [(one.new.tenant, one.idempotent.route, one.idempotent.key) for one in additions if one.idempotent]
    if not keys:
        return {}
    found = connection.exec_driver_sql(_answered_query(driver), driver.asked_rows(keys)).fetchall()
    return {(tenant, route, key): task_id for tenant, route, key, task_id in found}


def _write(
    connection: Connection, driver: Driver, changed: list[TaskDraft], keep_revisions: int, now: datetime
) -> None:
    moment = driver.moment(now)
    _delete_cleared(connection, driver, changed)
    _write_tasks(connection, driver, changed, moment)
    _write_revisions(connection, driver, changed, moment)
    _write_answers(connection, driver, changed, moment)
    _prune(connection, driver, changed, keep_revisions)


def _delete_cleared(connection: Connection, driver: Driver, changed: list[TaskDraft]) -> None:
    cleared = [(draft.tenant, draft.task_id) for draft in changed if draft.is_cleared and draft.is_stored]
    if cleared:
        of_task = f"WHERE tenant = {driver.mark} AND task_id = {driver.mark}"
        connection.exec_driver_sql(f"DELETE FROM revisions {of_task}", cleared)
        connection.exec_driver_sql(f"DELETE FROM idempotent_answers {of_task}", cleared)


def _write_tasks(connection: Connection, driver: Driver, changed: list[TaskDraft], moment: Moment) -> None:
    new = [_task_fields(draft, driver, moment) for draft in changed if not draft.is_stored]
    if new and _insert(connection, driver, "tasks", _TASK, new, "ON CONFLICT DO NOTHING") < len(new):
        raise TaskMadeMeanwhile
    old = [_task_fields(draft, driver, moment) for draft in changed if draft.is_stored]
    if old:
        connection.exec_driver_sql(_task_update(driver), old)


def _write_revisions(connection: Connection, driver: Driver, changed: list[TaskDraft], moment: Moment) -> None:
    rows = [_revision_fields(one, moment) for draft in changed for one in draft.made]
    if rows:
        with refused_as(VersionNotFound(f"{rows[0][3]} has no version {rows[0][4]}")):
            _insert(connection, driver, "revisions", _REVISION, rows)


def _write_answers(connection: Connection, driver: Driver, changed: list[TaskDraft], moment: Moment) -> None:
    made = [one for draft in changed for one in draft.made if one.answer is not None]
    if made:
        rows = sorted((_answer_fields(one, moment) for one in made), key=itemgetter(0, 1, 2))
        with refused_as(answered_meanwhile(rows[0][2])):
            _insert(connection, driver, "idempotent_answers", _ANSWER, rows)


def _prune(connection: Connection, driver: Driver, changed: list[TaskDraft], keep_revisions: int) -> None:
    """Delete all but the newest `keep_revisions`; a task's numbers are without a gap from its oldest to its latest."""
    over = [
        (draft.tenant, draft.task_id, draft.latest - keep_revisions)
        for draft in changed
        if draft.latest > keep_revisions
    ]
    if over:
        is_over = f"tenant = {driver.mark} AND task_id = {driver.mark} AND revision <= {driver.mark}"
        connection.exec_driver_sql(f"DELETE FROM revisions WHERE {is_over}", over)


def _insert(
    connection: Connection, driver: Driver, table: str, columns: str, rows: list[Fields], otherwise: str = ""
) -> int:
    """Insert rows and return how many were."""
    marks = ", ".join([driver.mark] * len(rows[0]))
    statement = f"INSERT INTO {table} ({columns}) VALUES ({marks}) {otherwise}"
    return connection.exec_driver_sql(statement, rows).rowcount


@cache
def _locked_query(driver: Driver) -> str:
    return f"""
SELECT tasks.tenant, tasks.task_id, tasks.created_at, tasks.latest_revision, tasks.last_revision_ever, tasks.expires_at
FROM {driver.asked((("tenant", "text"), ("task_id", "text")))}
JOIN tasks ON tasks.tenant = asked.tenant AND tasks.task_id = asked.task_id
ORDER BY tasks.tenant, tasks.task_id {driver.for_update}
"""


@cache
def _answered_query(driver: Driver) -> str:
    return f"""
SELECT answers.tenant, answers.route, answers.key, answers.task_id
FROM {driver.asked((("tenant", "text"), ("route", "text"), ("key", "text")))}
JOIN idempotent_answers AS answers
ON answers.tenant = asked.tenant AND answers.route = asked.route AND answers.key = asked.key
"""


@cache
def _task_update(driver: Driver) -> str:
    columns = _TASK.split(", ")
    changes = ", ".join(f"{column} = {driver.mark}" for column in columns[:-2])
    return f"UPDATE tasks SET {changes} WHERE tenant = {driver.mark} AND task_id = {driver.mark}"


def _task_fields(draft: TaskDraft, driver: Driver, moment: Moment) -> Fields:
    model = draft.made[-1].revision.model
    created_at, expires_at = driver.moment(draft.created_at), driver.moment(draft.expires_at)
    return draft.latest, draft.last_ever, model, created_at, moment, expires_at, draft.tenant, draft.task_id


def _revision_fields(made: Made, moment: Moment) -> Fields:
    one, (new, *_) = made.written, made.written.addition
    return (
        new.tenant,
        new.task_id,
        made.revision.revision,
        new.model,
        new.model_version,
        new.authority,
        made.revision.bytes,
        new.support_size,
        one.support_sha256,
        one.weights_sha256,
        moment,
        one.classes,
        one.settings.text,
        one.answer.text,
        new.support or b"",
        new.weights,
        one.document_bytes,
    )


def _answer_fields(made: Made, moment: Moment) -> Fields:
    idempotent, revision = made.written.addition.idempotent, made.revision
    assert idempotent is not None
    assert made.answer is not None
    return (
        *made.answer_key(),
        idempotent.body_sha256,
        idempotent.status,
        revision.task_id,
        moment,
        made.answer,
        len(made.answer),
    )
