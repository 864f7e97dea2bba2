"""SQLite's write-ahead log, copied into the database file beside the writers.

SQLite by itself copies within the commit that fills four megabytes, and that commit, of whoever it is, waits for
the disk: tens of milliseconds. Here a thread copies, which holds up neither readers nor writers. The log begins
anew at the next write that finds all of it copied; for one that never rests, the thread asks for the turn once.
"""

import threading
from collections.abc import Callable
from contextlib import AbstractContextManager, suppress
from pathlib import Path

from sqlalchemy import Engine

from app.store.foreign_errors import translated
from innerloop.errors import StoreFull, StoreUnavailable

COPY_BYTES = 4 * 2**20  # new in the log before it is copied: as much as SQLite takes by itself
RETRY_SECONDS = 1.0
RESTART_BYTES = 32 * 2**20  # the log, before a writer has to wait for a copy; reading gets slower with its length
_COPY = "PRAGMA wal_checkpoint(PASSIVE)"
_EMPTY = "PRAGMA wal_checkpoint(TRUNCATE)"


class WriteAheadLog:
    """Copy the log of one database file; `turn` keeps the writers of this process out while it is held."""

    def __init__(self, engine: Engine, turn: Callable[[], AbstractContextManager[None]]) -> None:
        self._engine = engine.execution_options(sqlite_begin=None)
        self._file = Path((engine.url.database or "").removeprefix("file:") + "-wal")
        self._turn = turn
        self._copying = threading.Lock()  # SQLite refuses a second copy at a time instead of waiting for the first
        self._starting = threading.Lock()
        self._copied_bytes = 0
        self._due = threading.Event()
        self._is_to_be_emptied = False
        self._closed = False
        self._thread: threading.Thread | None = None

    def written(self) -> None:
        """Have the log copied if enough was written to it; to be called after each commit, and cheap."""
        size = self._size()
        if size < self._copied_bytes:  # it began anew
            self._copied_bytes = 0
        if size - self._copied_bytes >= COPY_BYTES and not self._due.is_set():
            if self._thread is None:
                self._start()
            self._due.set()

    def empty(self) -> None:
        """Copy all of the log and cut it to nothing; where a reader is in the way, as soon as that is gone.

        Nobody waits for readers: not the writers, and not who calls.
        """
        if not self._emptied():
            self._is_to_be_emptied = True
            self._start()
            self._due.set()

    def close(self) -> None:
        """Stop the thread."""
        with self._starting:
            self._closed = True
        self._due.set()
        if self._thread is not None:
            self._thread.join()

    def _start(self) -> None:
        with self._starting:
            if self._thread is None and not self._closed:
                self._thread = threading.Thread(target=self._work, name="write-ahead-log", daemon=True)
                self._thread.start()

    def _work(self) -> None:
        while True:
            self._due.wait(RETRY_SECONDS if self._is_to_be_emptied else None)
            self._due.clear()
            if self._closed:  # looked at after the event is cleared: `close` sets it last
                return
            # What fails now is tried again after the next four megabytes; SQLite itself copies past 64.
            with suppress(StoreUnavailable, StoreFull):
                if self._is_to_be_emptied:
                    self._is_to_be_emptied = not self._emptied()
                else:
                    self._copy()

    def _copy(self) -> None:
        with self._copying:
            self._copied_bytes = self._size()
            self._run(_COPY)
            if self._size() >= RESTART_BYTES:
                with self._turn():
                    self._run(_COPY)

    def _emptied(self) -> bool:
        """Empty the log unless a reader still needs it, and tell whether that was done."""
        with self._copying:
            self._run(_COPY)  # most of the work, while others write
            with self._turn(), translated(), self._engine.connect() as connection:
                patience = connection.exec_driver_sql("PRAGMA busy_timeout").scalar_one()
                connection.exec_driver_sql("PRAGMA busy_timeout = 0")
                try:
                    is_busy, *_ = connection.exec_driver_sql(_EMPTY).one()
                finally:
                    connection.exec_driver_sql(f"PRAGMA busy_timeout = {patience}")
        return not is_busy

    def _run(self, statement: str) -> None:
        with translated(), self._engine.connect() as connection:
            connection.exec_driver_sql(statement)

    def _size(self) -> int:
        try:
            return self._file.stat().st_size
        except OSError:  # not there yet, or a URI with options: then SQLite copies by itself
            return 0
