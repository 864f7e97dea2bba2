"""Keys: queries inside a transaction, or on a connection, that the caller holds."""

import hmac
from collections.abc import Sequence
from datetime import datetime
from functools import cache

from sqlalchemy import Connection, select
from sqlalchemy.orm import Session

from app.store.driver import Driver, driver_of
from app.store.key_records import SCOPES, Identity, KeyRecord, NewKey, Scope
from app.store.tables import ApiKeyRow


def add(session: Session, new: NewKey, now: datetime) -> KeyRecord:
    """Add a key."""
    row = ApiKeyRow(
        key_id=new.key_id,
        tenant=new.tenant,
        name=new.name,
        scopes=",".join(scope for scope in SCOPES if scope in new.scopes),
        sha256=new.sha256,
        created_at=now,
        revoked_at=None,
    )
    session.add(row)
    return _record(row)


def keys(session: Session, tenant: str | None) -> list[KeyRecord]:
    """Return the keys of a tenant, or of all, by tenant and the oldest first."""
    query = select(ApiKeyRow).order_by(ApiKeyRow.tenant, ApiKeyRow.created_at, ApiKeyRow.key_id)
    if tenant is not None:
        query = query.where(ApiKeyRow.tenant == tenant)
    return [_record(row) for row in session.scalars(query)]


def revoke(session: Session, key_id: str, now: datetime) -> KeyRecord | None:
    """Revoke a key, None where there is none. One that is revoked already stays as it is."""
    row = session.get(ApiKeyRow, key_id, with_for_update=True)
    if row is None:
        return None
    row.revoked_at = row.revoked_at or now
    return _record(row)


def identities(connection: Connection, hashes: Sequence[str]) -> list[Identity | None]:
    """Return whose key each sha256 is of, None for one of no key or of a revoked one."""
    if not hashes:
        return []
    driver = driver_of(connection)
    found = connection.exec_driver_sql(_query(driver), driver.asked_rows([(digest,) for digest in hashes])).fetchall()
    by_place = {
        place: Identity(tenant, key_id, _scopes(scopes))
        for place, tenant, key_id, scopes, digest in found
        if hmac.compare_digest(digest, hashes[place])
    }
    return [by_place.get(place) for place in range(len(hashes))]


def is_good(connection: Connection, key_id: str) -> bool:
    """Tell whether there is a key of this id that is not revoked."""
    query = select(ApiKeyRow.key_id).where(ApiKeyRow.key_id == key_id, ApiKeyRow.revoked_at.is_(None))
    return connection.execute(query).first() is not None


def any_key(connection: Connection) -> bool:
    """Tell whether there ever was a key, a revoked one included."""
    return connection.exec_driver_sql("SELECT 1 FROM api_keys LIMIT 1").fetchone() is not None


@cache
def _query(driver: Driver) -> str:
    return f"""
SELECT asked.place, api_keys.tenant, api_keys.key_id, api_keys.scopes, api_keys.sha256
FROM {driver.asked((("sha256", "text"),))}
JOIN api_keys ON api_keys.sha256 = asked.sha256
WHERE api_keys.revoked_at IS NULL
"""


def _scopes(stored: str) -> frozenset[Scope]:
    return frozenset(scope for scope in SCOPES if scope in stored.split(","))


def _record(row: ApiKeyRow) -> KeyRecord:
    return KeyRecord(row.key_id, row.tenant, row.name, _scopes(row.scopes), row.created_at, row.revoked_at)
