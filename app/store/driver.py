"""The driver: how a statement written for it, and not for the ORM, is put on each database.

For the statements that every request waits for: the ORM costs ten times as much a row.
"""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, NamedTuple, TypeAlias

import orjson
from sqlalchemy import Connection

from app.store.documents import load_json

Columns: TypeAlias = tuple[tuple[str, str], ...]  # names and types
Asked: TypeAlias = Sequence[Sequence[str | int | None]]


class Driver(NamedTuple):
    """Name what differs between the databases; `mark` stands for a parameter."""

    mark: str
    for_update: str

    def marks(self, num_columns: int) -> str:
        """Return the marks of a row of parameters."""
        return ", ".join([self.mark] * num_columns)

    def moment(self, value: datetime | None) -> str | datetime | None:
        """Return an aware moment as a parameter; on SQLite as `UtcDateTime` writes it."""
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError(f"expected an aware datetime, got {value!r}; pass datetime.now(UTC)")
        if self.mark != "?":
            return value
        return value.astimezone(UTC).replace(tzinfo=None).isoformat(" ", "microseconds")

    def to_moment(self, stored: Any) -> datetime | None:
        """Turn what the driver returns of a moment into an aware one in UTC."""
        if stored is None:
            return None
        moment: datetime = stored if self.mark != "?" else datetime.fromisoformat(stored).replace(tzinfo=UTC)
        return moment.astimezone(UTC)

    def to_value(self, stored: Any) -> Any:
        """Turn what the driver returns of a document into its value; psycopg has done so itself."""
        return load_json(stored) if self.mark == "?" and stored is not None else stored

    def asked(self, columns: Columns) -> str:
        """Return a table `asked` of rows that come in as parameters, with their `place` in the order they come in.

        One statement then reads for any number of rows, and its text is the same for each number.
        """
        if self.mark == "?":
            fields = ", ".join(f"json_extract(value, '$[{i}]') AS {name}" for i, (name, _) in enumerate(columns))
            return f"(SELECT key AS place, {fields} FROM json_each(?)) AS asked"
        arrays = ", ".join(f"%s::{kind}[]" for _, kind in columns)
        names = ", ".join(name for name, _ in columns)
        given = f"unnest({arrays}) WITH ORDINALITY AS given({names}, number)"
        return f"(SELECT given.number - 1 AS place, {names} FROM {given}) AS asked"

    def asked_rows(self, rows: Asked) -> tuple[Any, ...]:
        """Return the parameters of `asked`, for at least one row."""
        if self.mark == "?":
            return (orjson.dumps(rows).decode(),)
        return tuple(map(list, zip(*rows, strict=True)))


SQLITE = Driver("?", "")
POSTGRESQL = Driver("%s", "FOR UPDATE OF tasks")


def driver_of(connection: Connection) -> Driver:
    """Return the driver behind a connection."""
    return SQLITE if connection.dialect.name == "sqlite" else POSTGRESQL
