"""The part of the store that keeps keys; `store` says what holds for all of its operations."""

from collections.abc import Sequence
from datetime import datetime

from app.store import keys
from app.store.database import Database
from app.store.key_records import Identity, KeyRecord, NewKey


class KeyStore:
    """Keep keys: their hashes, whose they are, and what they may be used for."""

    _database: Database

    def add_key(self, new: NewKey, *, now: datetime) -> KeyRecord:
        """Add a key; it is known to every process with the next call of `identities`."""
        with self._database.write() as session:
            return keys.add(session, new, now)

    def keys(self, tenant: str | None = None) -> list[KeyRecord]:
        """Return the keys of a tenant, or of all, the revoked ones included."""
        with self._database.read() as session:
            return keys.keys(session, tenant)

    def revoke_key(self, key_id: str, *, now: datetime) -> KeyRecord | None:
        """Revoke a key for good, None where there is none. One that is revoked already stays as it is."""
        with self._database.write() as session:
            return keys.revoke(session, key_id, now)

    def identities(self, hashes: Sequence[str]) -> list[Identity | None]:
        """Return whose key each sha256 is of, None for one of no key or of a revoked one, at its place."""
        with self._database.lookup() as connection:
            return keys.identities(connection, hashes)

    def is_good_key(self, key_id: str) -> bool:
        """Tell whether there is a key of this id that is not revoked."""
        with self._database.lookup() as connection:
            return keys.is_good(connection, key_id)

    def has_keys(self) -> bool:
        """Tell whether there ever was a key: revoking the last one opens nothing."""
        with self._database.lookup() as connection:
            return keys.any_key(connection)
