"""Engines: a URL turned into pooled connections that behave as the store expects, on either database."""

from pathlib import Path
from typing import Any, Literal, TypeAlias

from sqlalchemy import URL, Connection, Engine, create_engine, event, make_url
from sqlalchemy.exc import ArgumentError

from app.store.documents import dump_json, load_json
from app.store.foreign_errors import unavailable

Synchronous: TypeAlias = Literal["NORMAL", "FULL"]

_CONNECT_TIMEOUT_S = 5
# PostgreSQL only: a statement may take this long besides its locks; 64 MB of weights take about a second.
_STATEMENT_MS = 60_000
# SQLite only: the length of the log at which a commit copies it, and what stays of its file when it begins anew.
_LOG_PAGES = 16_384
_LOG_BYTES_KEPT = 2**20
# A peer that vanished without a word is noticed after 10 + 3 * 5 seconds.
_KEEPALIVES = {
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 3,
    "tcp_user_timeout": 25_000,
}


def make_engine(url: str, *, synchronous: Synchronous, wait_ms: int, num_connections: int) -> Engine:
    """Return an engine that connects on first use.

    No lock and no free connection is waited for longer than `wait_ms`. A transaction on SQLite begins as
    the execution option `sqlite_begin` says: "IMMEDIATE" takes the write lock first, so that no read lock
    is ever upgraded, which fails at once when two try; None begins none.
    """
    target = database_url(url)
    options: dict[str, Any] = {
        "pool_size": num_connections,
        "max_overflow": 0,
        "pool_timeout": wait_ms / 1000,
        "json_serializer": dump_json,
        "json_deserializer": load_json,
        "hide_parameters": True,  # in errors, which are logged: rows, class names and hashes of keys are among them
    }
    if target.get_backend_name() == "sqlite":
        return _sqlite_engine(target, synchronous, wait_ms, options)
    return _postgresql_engine(target, wait_ms, options)


def database_url(url: str) -> URL:
    """Return the URL with its driver named; ValueError unless it is a SQLite file or PostgreSQL."""
    try:
        target = make_url(url)
    except ArgumentError as error:
        raise ValueError("expected a database URL such as sqlite:///data/innerloop.db") from error
    if target.drivername in {"postgres", "postgresql"}:
        target = target.set(drivername="postgresql+psycopg")
    if target.drivername not in {"postgresql+psycopg", "sqlite", "sqlite+pysqlite"}:
        raise ValueError(f"expected a URL of sqlite or postgresql, got {target.drivername}")
    if target.get_backend_name() == "sqlite" and (target.database or ":memory:") == ":memory:":
        raise ValueError("expected a file, as in sqlite:///data/innerloop.db: threads cannot share one in memory")
    return target


def _sqlite_engine(target: URL, synchronous: Synchronous, wait_ms: int, options: dict[str, Any]) -> Engine:
    engine = create_engine(target, connect_args={"timeout": wait_ms / 1000}, **options)
    _make_folder(target.database or "")

    @event.listens_for(engine, "connect")
    def set_up(connection: Any, _record: object) -> None:
        connection.isolation_level = None  # the driver would begin by itself, and too late
        if connection.execute("PRAGMA journal_mode").fetchone() != ("wal",):
            connection.execute("PRAGMA journal_mode = WAL")
        connection.execute(f"PRAGMA synchronous = {synchronous}")
        # `write_ahead_log` copies long before that; a log that begins anew is cut, so that its size tells its length.
        connection.execute(f"PRAGMA wal_autocheckpoint = {_LOG_PAGES}")
        connection.execute(f"PRAGMA journal_size_limit = {_LOG_BYTES_KEPT}")
        connection.execute("PRAGMA foreign_keys = ON")
        connection.execute("PRAGMA secure_delete = ON")  # what is deleted is overwritten

    @event.listens_for(engine, "begin")
    def begin(connection: Connection) -> None:
        mode = connection.get_execution_options().get("sqlite_begin", "DEFERRED")
        if mode is not None:
            connection.exec_driver_sql(f"BEGIN {mode}")

    return engine


def _make_folder(file: str) -> None:
    if file.startswith("file:"):  # a URI, which says by itself whether to make what is missing
        return
    folder = Path(file).parent
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)  # one that is there stays as it is
    except OSError as error:
        raise unavailable(f"the folder {folder} of the database is not there and cannot be made") from error


def _postgresql_engine(target: URL, wait_ms: int, options: dict[str, Any]) -> Engine:
    connect_args = {"connect_timeout": _CONNECT_TIMEOUT_S, **_KEEPALIVES}
    # The ping costs a round trip and finds connections that a restart of the database has cut.
    engine = create_engine(target, connect_args=connect_args, pool_pre_ping=True, **options)

    @event.listens_for(engine, "connect")
    def set_up(connection: Any, _record: object) -> None:
        connection.execute(f"SET lock_timeout = {wait_ms}")
        connection.execute(f"SET statement_timeout = {wait_ms + _STATEMENT_MS}")
        connection.execute(f"SET idle_in_transaction_session_timeout = {_STATEMENT_MS}")
        connection.commit()

    return engine
