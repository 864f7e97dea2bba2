"""Group commit: the additions of many callers in one transaction, and each in its own where one spoils it for all."""

from collections.abc import Sequence
from datetime import datetime

from app.store.additions import Written, written
from app.store.database import Database
from app.store.foreign_errors import is_entangled, unavailable
from app.store.new_revisions import TaskMadeMeanwhile
from app.store.new_revisions import add_revisions as add_in_transaction
from app.store.records import Addition, Revision
from innerloop.errors import InnerloopError, StoreUnavailable

# A task that another replica made is there at the second try; it is never deleted.
_MAX_TRIES = 3


def add_revisions(
    database: Database, additions: Sequence[Addition], *, keep_revisions: int, now: datetime
) -> list[Revision | Exception]:
    """Add revisions; see `Store.add_revisions`."""
    prepared = [_written(addition) for addition in additions]
    group = [one for one in prepared if isinstance(one, Written)]
    results = iter(_together(database, group, keep_revisions, now))
    if any(one.addition.replaces_all for one in group):
        database.forget_deleted()
    return [next(results) if isinstance(one, Written) else one for one in prepared]


def _written(addition: Addition) -> Written | Exception:
    try:
        return written(addition)
    except (TypeError, ValueError) as error:  # no JSON: a fault of this caller alone
        return error


def _together(
    database: Database, group: Sequence[Written], keep_revisions: int, now: datetime
) -> list[Revision | Exception]:
    if len(group) < 2:
        return [_alone(database, one, keep_revisions, now) for one in group]
    try:
        with database.addition() as connection:
            return add_in_transaction(connection, group, keep_revisions=keep_revisions, now=now)
    except StoreUnavailable as error:
        if not is_entangled(error):
            raise
    except (InnerloopError, TaskMadeMeanwhile):  # of one of them, and the transaction of all is undone
        pass
    return _each_alone(database, group, keep_revisions, now)


def _each_alone(
    database: Database, group: Sequence[Written], keep_revisions: int, now: datetime
) -> list[Revision | Exception]:
    """Add each in a transaction of its own; once the database does not answer, the others are not tried."""
    results: list[Revision | Exception] = []
    for one in group:
        try:
            results.append(_alone(database, one, keep_revisions, now))
        except StoreUnavailable as error:
            if not any(isinstance(result, Revision) for result in results):
                raise
            return results + [error] * (len(group) - len(results))
    return results


def _alone(database: Database, one: Written, keep_revisions: int, now: datetime) -> Revision | Exception:
    for _ in range(_MAX_TRIES):
        try:
            with database.addition() as connection:
                return add_in_transaction(connection, [one], keep_revisions=keep_revisions, now=now)[0]
        except TaskMadeMeanwhile:
            continue
        except StoreUnavailable:
            raise
        except InnerloopError as error:
            return error
    raise unavailable("other replicas were faster each time; try again")
