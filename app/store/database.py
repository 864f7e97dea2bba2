"""The database: short transactions on pooled connections, and whether it answers and takes writes."""

import secrets
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime

from sqlalchemy import Engine, delete
from sqlalchemy.orm import Session, sessionmaker

from app.store.foreign_errors import translated, unavailable
from app.store.tables import IdempotentAnswerRow
from innerloop.errors import StoreFull, StoreUnavailable

# A check writes this much: more than what a file or a relation usually has free within it.
_PROBE_BYTES = 65_536


class Database:
    """Hand out transactions; every error that leaves one is innerloop's own."""

    def __init__(self, engine: Engine, *, wait_ms: int) -> None:
        self._engine = engine
        self._wait_s = wait_ms / 1000
        self._is_sqlite = engine.dialect.name == "sqlite"
        # SQLite has one writer. Threads that queue here wake up in turn; in SQLite they would poll for it.
        self._turn = threading.Lock() if self._is_sqlite else None
        # Every read is one statement, which needs no transaction on PostgreSQL: two round trips saved.
        read_options = {} if self._is_sqlite else {"isolation_level": "AUTOCOMMIT"}
        self._reads = sessionmaker(engine.execution_options(**read_options), expire_on_commit=False)
        writes = engine.execution_options(sqlite_begin="IMMEDIATE")
        self._writes = sessionmaker(writes, expire_on_commit=False)

    @contextmanager
    def read(self) -> Iterator[Session]:
        """Open a session to read with."""
        with translated(), self._reads.begin() as session:
            yield session

    @contextmanager
    def write(self) -> Iterator[Session]:
        """Open a transaction; it is committed at the end of the block and undone when the block raises."""
        with translated(), self._taking_turns(), self._writes.begin() as session:
            yield session

    def check_writable(self) -> None:
        """Return when 64 KiB were just written and committed; StoreUnavailable or StoreFull otherwise.

        The row is gone again before anyone can see it.
        """
        key = secrets.token_hex()
        payload = {"random": secrets.token_hex(_PROBE_BYTES // 2)}
        probe = IdempotentAnswerRow(
            tenant="",
            route="",
            key=key,
            body_sha256="",
            status=0,
            answer=payload,
            created_at=datetime.now(UTC),
        )
        with self.write() as session:
            session.add(probe)
            session.flush()
            session.execute(delete(IdempotentAnswerRow).filter_by(tenant="", route="", key=key))

    def forget_deleted(self) -> None:
        """Empty SQLite's write-ahead log, which still holds what was deleted.

        What cannot be emptied now, because a reader takes long, goes with the next call or with closing.
        """
        if not self._is_sqlite:
            return
        outside_transactions = self._engine.execution_options(sqlite_begin=None)
        # The deletion itself is committed; that its traces stay a little longer is no failure of it.
        with (
            suppress(StoreUnavailable, StoreFull),
            translated(),
            self._taking_turns(),
            outside_transactions.connect() as connection,
        ):
            connection.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)")

    def close(self) -> None:
        """Close every connection that is not in use."""
        self._engine.dispose()

    @contextmanager
    def _taking_turns(self) -> Iterator[None]:
        if self._turn is None:
            yield
            return
        if not self._turn.acquire(timeout=self._wait_s):
            raise unavailable("the database was locked for too long; try again")
        try:
            yield
        finally:
            self._turn.release()
