"""The store: every operation, each in a short transaction of its own.

All of it blocks: call it from a worker thread. It may be used from any number of threads. Besides the errors
that an operation names, each raises StoreUnavailable, and StoreFull where it writes; then nothing is stored.
Moments are aware, `now` is the caller's clock. Pages are (rows, cursor of the next page or None), with
`limit` from 1 to 500; InvalidRequest for another one and for a cursor of something else.
"""

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TypeVar

from app.store import backup, deletion, group_commit, idempotency, lookups, models, revisions, tasks, usage
from app.store.audit_records import Note
from app.store.audit_store import AuditStore
from app.store.database import Database
from app.store.dataset_store import DatasetStore
from app.store.engine import Synchronous, make_engine
from app.store.job_store import JobStore
from app.store.key_store import KeyStore
from app.store.migrate import migrate
from app.store.records import (
    KEEP,
    ActiveVersion,
    Addition,
    Authority,
    Head,
    IdempotentAnswer,
    Json,
    Keep,
    Model,
    ModelVersion,
    NewAnswer,
    NewRevision,
    Revision,
    RevisionAsked,
    RevisionKey,
    Task,
    Usage,
)
from innerloop.errors import RevisionNotFound, TaskNotFound

R = TypeVar("R")

_MIGRATION_WAIT_MS = 60_000  # for a replica that is still migrating


def open_store(
    url: str, *, synchronous: Synchronous = "NORMAL", wait_ms: int = 5_000, num_connections: int = 10
) -> "Store":
    """Open the database of `url`, make or migrate its tables, and return the store.

    `sqlite:///folder/file` (the folder is made) or `postgresql://user:password@host/name`; ValueError for
    others. `synchronous` is SQLite's: NORMAL survives the death of every process, FULL a power cut as well.
    No lock and no free connection is waited for longer than `wait_ms`. StoreUnavailable when the database
    cannot be reached or was migrated by a newer release.
    """
    migrating = make_engine(url, synchronous=synchronous, wait_ms=_MIGRATION_WAIT_MS, num_connections=1)
    try:
        migrate(migrating)
    finally:
        migrating.dispose()
    engine = make_engine(url, synchronous=synchronous, wait_ms=wait_ms, num_connections=num_connections)
    return Store(Database(engine, wait_ms=wait_ms))


class Store(AuditStore, DatasetStore, JobStore, KeyStore):
    """Keep models, tasks, revisions, idempotent answers, data sets, jobs and keys; made by `open_store`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def close(self) -> None:
        """Close every connection."""
        self._database.close()

    @property
    def num_commits(self) -> int:
        """Transactions that wrote something since the store was opened; answers at once."""
        return self._database.num_commits

    def check_writable(self) -> None:
        """Return when a small write was just committed; it costs about a millisecond."""
        self._database.check_writable()

    def usage(self, tenant: str) -> Usage:
        """Return what is stored of a tenant; it takes some 200 ns for each revision, 50 for each answer."""
        with self._database.lookup() as connection:
            return usage.usage(connection, tenant)

    def backup(self, file: Path) -> dict[str, int]:
        """Write all that is in the store at one moment to a new file; return how many rows of each table. OSError.

        Others read and write meanwhile.
        """
        with self._database.snapshot() as connection:
            return backup.write_backup(connection, file)

    def restore(self, file: Path) -> dict[str, int]:
        """Fill the store, which has to be empty, from such a file, all of it or nothing; UnusableBackup, OSError."""
        with self._database.addition() as connection:
            return backup.read_backup(connection, file)

    # ---- models ----

    def add_model_version(self, name: str, card: Json, weights: bytes, *, activate: bool = False) -> ModelVersion:
        """Add a version under the next number, or return the one that has these weights and this card.

        The first version of a name becomes active; `activate` makes the returned one active in any case.
        """
        new = models.hashed(name, card, weights)
        with self._database.read() as session:  # a start where nothing is new needs no write
            version = models.find_equal(session, new)
        if version is not None and not activate:
            return version
        with self._database.write() as session:
            version = models.add_version(session, new, datetime.now(UTC))
            if activate:
                models.promote(session, name, version.version)
        return version

    def models(
        self, *, own_prefix: str = "", after: str | None = None, limit: int = 50
    ) -> tuple[list[Model], str | None]:
        """Return a page of models by name: those without a `/` in it, and those that begin with `own_prefix`.

        Of the latter the rest of the name counts, and a model without a `/` that has that very name is left out.
        """
        with self._database.read() as session:
            return models.models(session, own_prefix, after, limit)

    def model(self, name: str) -> Model:
        """Return a model with its versions; ModelNotFound."""
        with self._database.read() as session:
            return models.model(session, name)

    def model_version(self, name: str, version: int | None = None) -> ModelVersion:
        """Return a version, the active one for None; ModelNotFound, VersionNotFound."""
        with self._database.read() as session:
            return models.model_version(session, name, version)

    def model_weights(self, name: str, version: int | None = None) -> bytes:
        """Return the weights of a version, the active one for None; ModelNotFound, VersionNotFound."""
        with self._database.read() as session:
            return models.model_weights(session, name, version)

    def active_versions(self, names: Sequence[str]) -> dict[str, ActiveVersion | None]:
        """Return the active version of each model that is there, None where it has none, and what is stored of it."""
        with self._database.lookup() as connection:
            return lookups.active_versions(connection, names)

    def authority(self, name: str) -> Authority:
        """Return what is stored of revisions made of a model; ModelNotFound."""
        with self._database.read() as session:
            return models.authority(session, name)

    def set_authority(self, name: str, authority: Authority) -> None:
        """Set what is stored of revisions yet to be made of a model, at first "weights"; ModelNotFound.

        It is what callers read and put into a NewRevision; those that are stored stay as they are.
        """
        with self._database.write() as session:
            models.set_authority(session, name, authority)

    def promote(self, name: str, version: int) -> Model:
        """Make a version active; ModelNotFound, VersionNotFound."""
        with self._database.write() as session:
            return models.promote(session, name, version)

    def delete_model_version(self, name: str, version: int) -> None:
        """Delete a version; ModelNotFound, VersionNotFound.

        VersionInUse when a revision of a task uses it, or when it is active and there are others. With its
        last version a model is gone; its numbers go on when one of that name is added again.
        """
        with self._database.write() as session:
            models.delete_version(session, name, version)
        self._database.forget_deleted()

    # ---- tasks ----

    def task(self, tenant: str, task_id: str, *, now: datetime) -> Task:
        """Return a task; TaskNotFound."""
        with self._database.read() as session:
            return tasks.task(session, tenant, task_id, now)

    def tasks(
        self,
        tenant: str,
        *,
        now: datetime,
        models: Sequence[str] | None = None,
        after: str | None = None,
        limit: int = 50,
    ) -> tuple[list[Task], str | None]:
        """Return a page of a tenant's tasks by id, those of some models when `models` is given."""
        with self._database.read() as session:
            return tasks.tasks(session, tenant, now, models, after, limit)

    def newest_tasks(self, tenant: str, *, now: datetime, limit: int) -> list[tuple[str, int]]:
        """Return id and latest revision of a tenant's tasks, those that changed last first."""
        with self._database.read() as session:
            return tasks.newest(session, tenant, now, limit)

    def set_expiry(
        self, tenant: str, task_id: str, expires_at: datetime | None, *, now: datetime, note: Note | None = None
    ) -> None:
        """Set when a task expires, None for never; TaskNotFound. `note` goes into the audit log if that changes it."""
        with self._database.write() as session:
            tasks.set_expiry(session, tenant, task_id, expires_at, now, note)

    def delete_task(self, tenant: str, task_id: str, *, now: datetime, note: Note | None = None) -> None:
        """Delete a task, its revisions and its idempotent answers; TaskNotFound.

        Its id and last number stay, so that a later task of that id goes on counting. `note` goes into the audit log.
        """
        with self._database.write() as session:
            deletion.delete_task(session, tenant, task_id, now, note)
        self._database.forget_deleted()

    def purge_expired(self, *, now: datetime, limit: int = 100) -> int:
        """Delete up to `limit` expired tasks as `delete_task` does; return how many. Call again until 0."""
        with self._database.write() as session:
            num_tasks = deletion.purge_expired(session, now, limit)
        if num_tasks:
            self._database.forget_deleted()
        return num_tasks

    def forget_overwritten(self) -> None:
        """Cut off what SQLite's log still holds of all that was deleted, pruned or overwritten; to be called at times.

        The database file itself never holds it: there it is overwritten.
        """
        self._database.forget_overwritten()

    # ---- revisions ----

    def add_revision(
        self,
        new: NewRevision,
        *,
        expected_latest: int,
        ttl_seconds: float | Keep | None = KEEP,
        keep_revisions: int,
        now: datetime,
        idempotent: NewAnswer[Revision] | None = None,
    ) -> Revision:
        """Add a revision to a task, making the task when there is none, and return it with its number.

        `expected_latest` is the task's latest revision as the caller knows it, 0 for a task that is not
        there; RevisionConflict when it is another by now. `ttl_seconds` counts from `now`: None for ever,
        KEEP what the task has (a new one: for ever). The newest `keep_revisions` stay. VersionNotFound when
        the model version does not exist. With `idempotent` its answer is stored too; IdempotencyInFlight
        when its key was answered meanwhile: read `idempotent_answer` and compare the bodies.
        """
        addition = Addition(new, expected_latest, ttl_seconds, idempotent)
        return _found(self.add_revisions([addition], keep_revisions=keep_revisions, now=now)[0])

    def add_revisions(
        self, additions: Sequence[Addition], *, keep_revisions: int, now: datetime
    ) -> list[Revision | Exception]:
        """Add revisions as `add_revision` would, one after the other, in one transaction; return them at their places.

        One that is refused is an error at its place and changes nothing for the others: what `add_revision` names,
        StoreFull, and what its own fault raises, such as its `answer_of`. StoreUnavailable is raised when none
        was stored, and stands at the places of those that were not.
        """
        return group_commit.add_revisions(self._database, additions, keep_revisions=keep_revisions, now=now)

    def revisions(
        self, tenant: str, task_id: str, *, now: datetime, after: str | None = None, limit: int = 50
    ) -> tuple[list[Revision], str | None]:
        """Return a page of a task's revisions, the newest first; TaskNotFound."""
        with self._database.read() as session:
            return revisions.revisions(session, tenant, task_id, now, after, limit)

    def revision(self, tenant: str, task_id: str, revision: int | None = None, *, now: datetime) -> Revision:
        """Return a revision, the latest for None; TaskNotFound, RevisionNotFound."""
        return _found(self.latest_revisions([(tenant, task_id, revision)], now=now)[0])

    def latest_revisions(
        self, keys: Sequence[RevisionAsked], *, now: datetime
    ) -> list[Revision | TaskNotFound | RevisionNotFound]:
        """Return the revision of each key (tenant, task id, revision), the latest for None, at the key's place."""
        with self._database.lookup() as connection:
            return lookups.revisions(connection, keys, now)

    def heads(self, keys: Sequence[RevisionAsked], *, now: datetime) -> list[Head | TaskNotFound | RevisionNotFound]:
        """Return of each revision what a prediction needs, as `latest_revisions` does."""
        with self._database.lookup() as connection:
            return lookups.heads(connection, keys, now)

    def stored_revisions(self, keys: Sequence[RevisionKey], *, now: datetime) -> set[RevisionKey]:
        """Return those of `keys`, each (tenant, task id, revision), that are stored and whose task is live."""
        with self._database.lookup() as connection:
            return lookups.stored(connection, keys, now)

    def revision_support(self, tenant: str, task_id: str, revision: int | None = None, *, now: datetime) -> bytes:
        """Return the support rows of a revision, as `revision` does."""
        return _found(self.supports_of([(tenant, task_id, revision)], now=now)[0])

    def supports_of(
        self, keys: Sequence[RevisionAsked], *, now: datetime
    ) -> list[bytes | TaskNotFound | RevisionNotFound]:
        """Return the support rows of each revision, as `latest_revisions` does."""
        with self._database.lookup() as connection:
            return lookups.supports(connection, keys, now)

    def revision_weights(
        self, tenant: str, task_id: str, revision: int | None = None, *, now: datetime
    ) -> bytes | None:
        """Return the weights of a revision, as `revision` does; None where its rows are the authority."""
        return _found(self.weights_of([(tenant, task_id, revision)], now=now)[0])

    def weights_of(
        self, keys: Sequence[RevisionAsked], *, now: datetime
    ) -> list[bytes | TaskNotFound | RevisionNotFound | None]:
        """Return the weights of each revision, as `latest_revisions` does; None where its rows are the authority."""
        with self._database.lookup() as connection:
            return lookups.weights(connection, keys, now)

    # ---- idempotent answers ----

    def idempotent_answer(self, tenant: str, route: str, key: str) -> IdempotentAnswer | None:
        """Return the answer given to a request with this key, None when there is none."""
        with self._database.read() as session:
            return idempotency.find(session, tenant, route, key)

    def add_idempotent_answer(self, answer: IdempotentAnswer, *, latest: int | None = None) -> None:
        """Store an answer that made no revision; IdempotencyInFlight when the key was answered meanwhile.

        One that tells of a task names what was its latest revision. TaskNotFound, RevisionConflict when it no longer
        is: what is deleted leaves no answer behind.
        """
        with self._database.write() as session:
            if answer.task_id is not None and latest is not None:
                tasks.check_latest(session, answer.tenant, answer.task_id, latest, answer.created_at)
            idempotency.add(session, answer)

    def purge_answers(self, *, before: datetime) -> int:
        """Delete the answers made before a moment; return how many."""
        with self._database.write() as session:
            return idempotency.purge(session, before)


def _found(result: R | Exception) -> R:
    """Return a result of one; raise it when it is an error."""
    if isinstance(result, Exception):
        raise result
    return result
