"""Foreign errors: the one place where those of SQLAlchemy and the drivers become innerloop's own."""

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager

import structlog
from sqlalchemy.exc import DataError, DBAPIError, IntegrityError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

from innerloop.errors import InnerloopError, InternalError, StoreFull, StoreUnavailable

log = structlog.get_logger()

_RETRY_AFTER_SECONDS = 1.0
_FULL = {sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR_SHMSIZE, "53100"}  # disk_full
_LOCKED = {
    sqlite3.SQLITE_BUSY,
    sqlite3.SQLITE_LOCKED,
    "55P03",
    "40P01",
    "40001",
}  # lock_not_available, deadlock_detected, serialization_failure
_ENTANGLED = {"40P01", "40001"}  # deadlock_detected, serialization_failure
_READ_ONLY = {sqlite3.SQLITE_READONLY, "25006"}  # read_only_sql_transaction


@contextmanager
def translated() -> Iterator[None]:
    """Raise errors of the database as innerloop's, from the original.

    StoreFull where there is no room; InternalError where the statement itself was wrong, a fault of ours;
    StoreUnavailable for the rest: not reached, lost, locked for too long, read-only, damaged.
    """
    try:
        yield
    except PoolTimeoutError as error:
        raise unavailable("every connection to the database is in use; try again") from error
    except DBAPIError as error:
        raise _translation(error) from error


@contextmanager
def refused_as(refusal: InnerloopError) -> Iterator[None]:
    """Raise `refusal` where a unique or foreign key refuses the statement."""
    try:
        yield
    except IntegrityError as error:
        raise refusal from error


def is_entangled(error: BaseException) -> bool:
    """Return whether a transaction was undone because of what others did at the moment, and may be tried again."""
    return isinstance(error.__cause__, DBAPIError) and bool(_codes(error.__cause__.orig) & _ENTANGLED)


def unavailable(detail: str) -> StoreUnavailable:
    """Make the error of a store that does not answer now but may soon."""
    return StoreUnavailable(detail, retry_after_seconds=_RETRY_AFTER_SECONDS)


def _translation(error: DBAPIError) -> InnerloopError:
    if isinstance(error, (IntegrityError, DataError)):
        # Its own words may hold what was to be stored: PostgreSQL quotes the row.
        log.error("the database refused a statement", kind=type(error).__name__, statement=error.statement)
        return InternalError("the database refused a statement of the service")
    codes = _codes(error.orig)
    if codes & _FULL:
        return StoreFull("the database has no room left; delete tasks or give it more space")
    if codes & _LOCKED:
        return unavailable("the database was locked for too long; try again")
    if codes & _READ_ONLY:
        return unavailable("the database takes no writes; try again when it does")
    return unavailable("the database does not answer; try again")


def _codes(original: BaseException | None) -> set[object]:
    """Return SQLite's extended and primary result code, or PostgreSQL's SQLSTATE."""
    code = getattr(original, "sqlite_errorcode", None)
    primary = None if code is None else code & 0xFF
    return {code, primary, getattr(original, "sqlstate", None)} - {None}
