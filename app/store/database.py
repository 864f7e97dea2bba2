"""The database: short transactions on pooled connections, and whether it answers and takes writes."""

import secrets
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime

from sqlalchemy import Connection, Engine, delete
from sqlalchemy.orm import Session, sessionmaker

from app.store.foreign_errors import translated, unavailable
from app.store.tables import IdempotentAnswerRow
from app.store.write_ahead_log import WriteAheadLog
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
        self._counting = threading.Lock()
        self._num_commits = 0
        self._num_forgotten = -1  # a log that a crash left behind may hold anything
        self._log = WriteAheadLog(engine, self._taking_turns) if self._is_sqlite else None
        # Every read is one statement, which needs no transaction on PostgreSQL: two round trips saved.
        read_options = {} if self._is_sqlite else {"isolation_level": "AUTOCOMMIT"}
        self._reads = sessionmaker(engine.execution_options(**read_options), expire_on_commit=False)
        self._lookups = engine.execution_options(sqlite_begin=None, **read_options)
        self._additions = engine.execution_options(sqlite_begin="IMMEDIATE")
        self._writes = sessionmaker(self._additions, expire_on_commit=False)

    @contextmanager
    def read(self) -> Iterator[Session]:
        """Open a session to read with."""
        with translated(), self._reads.begin() as session:
            yield session

    @contextmanager
    def lookup(self) -> Iterator[Connection]:
        """Open a connection to read one statement with, in no transaction."""
        with translated(), self._lookups.connect() as connection:
            yield connection

    @contextmanager
    def addition(self) -> Iterator[Connection]:
        """Open a transaction as `write` does, on a connection without a session."""
        with translated(), self._taking_turns(), self._additions.begin() as connection:
            yield connection
        self._written()

    @contextmanager
    def write(self) -> Iterator[Session]:
        """Open a transaction; it is committed at the end of the block and undone when the block raises."""
        with translated(), self._taking_turns(), self._writes.begin() as session:
            yield session
        self._written()

    @contextmanager
    def snapshot(self) -> Iterator[Connection]:
        """Open a transaction whose statements all see the database as it was at the first of them."""
        options = {} if self._is_sqlite else {"isolation_level": "REPEATABLE READ", "postgresql_readonly": True}
        with translated(), self._engine.execution_options(**options).begin() as connection:
            yield connection

    @property
    def num_commits(self) -> int:
        """Transactions that were committed since this was made."""
        return self._num_commits

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
            bytes=0,
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
        if self._log is not None:
            # The deletion itself is committed; that its traces stay a little longer is no failure of it.
            with suppress(StoreUnavailable, StoreFull):
                self._log.empty()

    def forget_overwritten(self) -> None:
        """Empty the log as `forget_deleted` does, if anything was committed since this was last asked for."""
        if self._num_commits != self._num_forgotten:
            self._num_forgotten = self._num_commits
            self.forget_deleted()

    def close(self) -> None:
        """Close every connection that is not in use."""
        if self._log is not None:
            self._log.close()
        self._engine.dispose()

    def _written(self) -> None:
        with self._counting:
            self._num_commits += 1
        if self._log is not None:
            self._log.written()

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
