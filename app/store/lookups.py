"""Lookups: many revisions in one statement, on a connection that the caller holds.

Each answer stands at the place of its key; what is not there is an error at that place, made and not raised.
Revisions of an expired task are not there.
"""

from collections.abc import Callable, Sequence
from datetime import datetime
from functools import cache
from typing import Any, TypeAlias, TypeVar

from sqlalchemy import Connection

from app.store.driver import Driver, driver_of
from app.store.records import ActiveVersion, Blob, Head, Revision, RevisionAsked, RevisionKey
from app.store.tables import storable
from app.store.tasks import no_task
from innerloop.errors import RevisionNotFound, TaskNotFound

R = TypeVar("R")
Missing: TypeAlias = TaskNotFound | RevisionNotFound

_HEAD = "revisions.model, revisions.model_version, revisions.classes, revisions.authority"
_REVISION = (
    f"{_HEAD}, tasks.expires_at, revisions.created_at, revisions.settings, revisions.answer, revisions.bytes, "
    "revisions.support_size, revisions.support_sha256, revisions.weights_sha256"
)


def heads(connection: Connection, keys: Sequence[RevisionAsked], now: datetime) -> list[Head | Missing]:
    """Return of each revision what a prediction needs, of the latest for None."""
    driver = driver_of(connection)

    def head(key: RevisionAsked, row: Sequence[Any]) -> Head:
        _, revision, model, version, classes, authority = row
        return Head(key[0], key[1], revision, model, version, driver.to_value(classes), authority)

    return _each(connection, _HEAD, keys, now, head)


def revisions(connection: Connection, keys: Sequence[RevisionAsked], now: datetime) -> list[Revision | Missing]:
    """Return each revision, the latest for None."""
    driver = driver_of(connection)
    return _each(connection, _REVISION, keys, now, lambda key, row: _revision(driver, key, row))


def supports(connection: Connection, keys: Sequence[RevisionAsked], now: datetime) -> list[Blob | Missing]:
    """Return the support rows of each revision, of the latest for None."""
    return _each(connection, "revisions.support", keys, now, lambda _, row: row[2])


def weights(connection: Connection, keys: Sequence[RevisionAsked], now: datetime) -> list[Blob | Missing | None]:
    """Return the weights of each revision, of the latest for None; None where the rows are the authority."""
    return _each(connection, "revisions.weights", keys, now, lambda _, row: row[2])


def stored(connection: Connection, keys: Sequence[RevisionKey], now: datetime) -> set[RevisionKey]:
    """Return those of `keys` that are stored and whose task is live."""
    found = _each(connection, "revisions.authority", keys, now, lambda *_: True)
    return {key for key, there in zip(keys, found, strict=True) if there is True}


def active_versions(connection: Connection, names: Sequence[str]) -> dict[str, ActiveVersion | None]:
    """Return the active version of each model that is there, None where it has none."""
    if not names:
        return {}
    driver = driver_of(connection)
    found = connection.exec_driver_sql(_active_query(driver), driver.asked_rows([(name,) for name in names]))
    return {
        name: None if version is None else ActiveVersion(version, authority)
        for name, version, authority in found.fetchall()
    }


def _each(
    connection: Connection,
    columns: str,
    keys: Sequence[RevisionAsked] | Sequence[RevisionKey],
    now: datetime,
    record: Callable[[Any, Sequence[Any]], R],
) -> list[R | Missing]:
    if not keys:
        return []
    driver = driver_of(connection)
    asked = [(key[0], key[1], None if key[2] is None else storable(key[2])) for key in keys]
    parameters = *driver.asked_rows(asked), driver.moment(now)
    rows = {row[0]: row for row in connection.exec_driver_sql(_query(driver, columns), parameters).fetchall()}
    return [_one(key, rows.get(place), record) for place, key in enumerate(keys)]


def _one(key: RevisionAsked, row: Sequence[Any] | None, record: Callable[[Any, Sequence[Any]], R]) -> R | Missing:
    if row is None:
        return no_task(key[1])
    if row[1] is None:
        return RevisionNotFound(f"task {key[1]} has no revision {key[2]}; GET /tasks/{key[1]}/revisions lists them")
    return record(key, row)


@cache
def _query(driver: Driver, columns: str) -> str:
    return f"""
SELECT asked.place, revisions.revision, {columns}
FROM {driver.asked((("tenant", "text"), ("task_id", "text"), ("revision", "integer")))}
JOIN tasks ON tasks.tenant = asked.tenant AND tasks.task_id = asked.task_id
LEFT JOIN revisions ON revisions.tenant = tasks.tenant AND revisions.task_id = tasks.task_id
AND revisions.revision = COALESCE(asked.revision, tasks.latest_revision)
WHERE tasks.latest_revision > 0 AND (tasks.expires_at IS NULL OR tasks.expires_at > {driver.mark})
"""


@cache
def _active_query(driver: Driver) -> str:
    return f"""
SELECT models.name, models.active_version, models.authority
FROM {driver.asked((("name", "text"),))}
JOIN models ON models.name = asked.name
WHERE models.active_version IS NOT NULL
OR EXISTS (SELECT 1 FROM model_versions WHERE model_versions.name = models.name)
"""


def _revision(driver: Driver, key: RevisionAsked, row: Sequence[Any]) -> Revision:
    _, number, model, version, classes, authority, expires_at, created_at, settings, answer, *rest = row
    num_bytes, support_size, support_sha256, weights_sha256 = rest
    return Revision(
        tenant=key[0],
        task_id=key[1],
        revision=number,
        model=model,
        model_version=version,
        settings=driver.to_value(settings),
        support_sha256=support_sha256,
        support_size=support_size,
        classes=driver.to_value(classes),
        answer=driver.to_value(answer),
        weights_sha256=weights_sha256,
        authority=authority,
        bytes=num_bytes,
        created_at=driver.to_moment(created_at),  # type: ignore[arg-type]  # the column is not NULL
        expires_at=driver.to_moment(expires_at),
    )
