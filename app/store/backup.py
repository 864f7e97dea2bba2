"""Backups: all that is in the database, as a zip that either database can be filled from.

One file of JSON lines a table, a line a row, bytes in base64; `manifest.json`, which is written last, says of which
tables they are and how many rows each has.
"""

import base64
import json
import os
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Any

from alembic.runtime.migration import MigrationContext
from sqlalchemy import Connection, LargeBinary, Table, select
from sqlalchemy.exc import DataError, DBAPIError, IntegrityError, StatementError

from app.store.documents import dump_json, load_json
from app.store.tables import Base
from app.store.timestamps import UtcDateTime

FORMAT = "innerloop-backup-1"
MANIFEST = "manifest.json"
_ROWS_AT_ONCE = 16  # a row may hold tens of megabytes
_BYTES_AT_ONCE = 4 * 2**20  # of lines, before they are inserted

Row = dict[str, Any]


class UnusableBackup(ValueError):
    """The file is no backup that this release can read, or the store is not empty."""


def write_backup(connection: Connection, file: Path) -> dict[str, int]:
    """Write all rows that the connection's transaction sees; return how many of each table.

    The file is there whole or not at all, and its owner alone may read it. FileExistsError, OSError.
    """
    if file.exists():
        raise FileExistsError(f"there is a file {file} already")
    partial = file.with_name(f"{file.name}.partial")
    try:
        # Exclusive, so that two that write at once do not mix; private, as it holds what tenants sent.
        with os.fdopen(os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as raw:
            counts = _write(connection, raw)
            raw.flush()
            os.fsync(raw.fileno())
        partial.rename(file)
    except FileExistsError as error:
        raise FileExistsError(f"{partial} is there: another backup is being written, or one broke off") from error
    except BaseException:
        with suppress(OSError):
            partial.unlink()
        raise
    return counts


def read_backup(connection: Connection, file: Path) -> dict[str, int]:
    """Insert all rows of a backup into tables that are empty; return how many of each. UnusableBackup, OSError.

    What was inserted before an error is for the caller's transaction to undo.
    """
    try:
        with zipfile.ZipFile(file) as archive:
            counts = _counts(archive, _schema(connection))
            _keep_writers_out(connection)
            _check_empty(connection)
            for table in Base.metadata.sorted_tables:
                if _insert(connection, table, archive) != counts[table.name]:
                    raise UnusableBackup(f"{table.name} has not the {counts[table.name]} rows that the manifest names")
    except (zipfile.BadZipFile, zlib.error, EOFError, KeyError, TypeError) as error:
        raise UnusableBackup(f"{file} is no backup, or a damaged one: {error}") from error
    except StatementError as error:
        if isinstance(error, DBAPIError) and not isinstance(error, (IntegrityError, DataError)):
            raise  # of the database, and no fault of the rows
        raise UnusableBackup(f"{file} is a damaged backup: the database does not take its rows") from error
    return counts


def _write(connection: Connection, raw: IO[bytes]) -> dict[str, int]:
    counts: dict[str, int] = {}
    with zipfile.ZipFile(raw, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        for table in Base.metadata.sorted_tables:
            counts[table.name] = 0
            found = connection.execution_options(yield_per=_ROWS_AT_ONCE).execute(
                select(table).order_by(*table.primary_key)
            )
            with archive.open(f"{table.name}.jsonl", "w", force_zip64=True) as lines:
                for row in found.mappings():
                    lines.write(dump_json(_written(row)).encode() + b"\n")
                    counts[table.name] += 1
        manifest = {
            "format": FORMAT,
            "schema": _schema(connection),
            "created_at": datetime.now(UTC).isoformat(timespec="seconds"),
            "rows": counts,
        }
        archive.writestr(MANIFEST, json.dumps(manifest, indent=2))
    return counts


def _written(row: Any) -> Row:
    return {name: _plain(value) for name, value in row.items()}


def _plain(value: Any) -> Any:
    if isinstance(value, bytes):
        return base64.b64encode(value).decode("ascii")
    return value.isoformat() if isinstance(value, datetime) else value


def _schema(connection: Connection) -> str | None:
    return MigrationContext.configure(connection).get_current_revision()


def _counts(archive: zipfile.ZipFile, schema: str | None) -> dict[str, int]:
    """Return how many rows of each table a backup holds, once it is sure that it fits."""
    try:
        manifest = json.loads(archive.read(MANIFEST))
    except ValueError as error:
        raise UnusableBackup(f"its {MANIFEST} is no JSON") from error
    if not isinstance(manifest, dict) or manifest.get("format") != FORMAT:
        raise UnusableBackup(f"it is no {FORMAT}")
    if manifest.get("schema") != schema:
        raise UnusableBackup(
            f"it is of schema {manifest.get('schema')}, and this release has {schema}; restore it with the release "
            "that made it, and start this one on the result"
        )
    counts = manifest["rows"]
    if not isinstance(counts, dict) or counts.keys() != Base.metadata.tables.keys():
        raise UnusableBackup("it does not hold the tables of this release")
    return counts


def _keep_writers_out(connection: Connection) -> None:
    """Let nobody write between the look at empty tables and the end; SQLite's transaction has done so already."""
    if connection.dialect.name != "sqlite":
        connection.exec_driver_sql(f"LOCK TABLE {', '.join(Base.metadata.tables)} IN SHARE ROW EXCLUSIVE MODE")


def _check_empty(connection: Connection) -> None:
    for table in Base.metadata.sorted_tables:
        if connection.execute(select(*table.primary_key).limit(1)).first() is not None:
            raise UnusableBackup(
                f"the store is not empty, there are {table.name} in it; restore into a new DATA_DIR or database, "
                "before the service starts on it for the first time"
            )


def _insert(connection: Connection, table: Table, archive: zipfile.ZipFile) -> int:
    num_rows = 0
    with archive.open(f"{table.name}.jsonl") as lines:
        for rows in _batches(table, lines):
            connection.execute(table.insert(), rows)
            num_rows += len(rows)
    return num_rows


def _batches(table: Table, lines: IO[bytes]) -> Iterator[list[Row]]:
    rows: list[Row] = []
    num_bytes = 0
    for number, line in enumerate(lines, start=1):
        rows.append(_read(table, line, number))
        num_bytes += len(line)
        if num_bytes >= _BYTES_AT_ONCE:
            yield rows
            rows, num_bytes = [], 0
    if rows:
        yield rows


def _read(table: Table, line: bytes, number: int) -> Row:
    try:
        row: Row = load_json(line)
        if row.keys() != {column.name for column in table.columns}:
            raise ValueError("other columns than the table has")
        return {column.name: _typed(column.type, row[column.name]) for column in table.columns}
    except (ValueError, AttributeError, TypeError) as error:
        raise UnusableBackup(f"line {number} of {table.name} is no row of it: {error}") from error


def _typed(kind: Any, value: Any) -> Any:
    if value is None:
        return None
    if isinstance(kind, LargeBinary):
        return base64.b64decode(value, validate=True)
    return datetime.fromisoformat(value) if isinstance(kind, UtcDateTime) else value
