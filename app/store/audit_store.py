"""The part of the store that keeps the audit log; `store` says what holds for all of its operations."""

from datetime import datetime

from app.store import audit
from app.store.audit_records import AuditEntry, Note, Noted
from app.store.database import Database


class AuditStore:
    """Keep who did what to which task. What changes a task adds its entry in its own transaction."""

    _database: Database

    def add_audit(self, tenant: str, task_id: str, revision: int | None, note: Note, *, now: datetime) -> None:
        """Add an entry of what changed nothing."""
        with self._database.addition() as connection:
            audit.add(connection, [Noted(tenant, task_id, revision, note)], now)

    def audit(
        self, tenant: str, *, task_id: str | None = None, after: str | None = None, limit: int = 50
    ) -> tuple[list[AuditEntry], str | None]:
        """Return a page of a tenant's entries, the newest first, those of one task when it is named."""
        with self._database.read() as session:
            return audit.entries(session, tenant, task_id, after, limit)

    def purge_audit(self, *, before: datetime, limit: int = 1_000) -> int:
        """Delete up to `limit` entries made before a moment; return how many. Call again until 0."""
        with self._database.write() as session:
            return audit.purge(session, before, limit)
