import os
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from pathlib import Path

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from sqlalchemy import Engine, bindparam, text

from app.store import Revision, Store, open_store
from app.store.engine import make_engine
from app.store.tables import Base
from app.store.timestamps import UtcDateTime
from innerloop.errors import StoreUnavailable

ROOT = Path(__file__).parents[2]
OPEN = "import sys; from app.store import open_store; open_store(sys.argv[1]).close()"


def engine_of(url: str) -> Engine:
    return make_engine(url, synchronous="NORMAL", wait_ms=1000, num_connections=1)


def test_migrations_and_tables_agree(url: str) -> None:
    engine = engine_of(url)
    with engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        assert compare_metadata(context, Base.metadata) == []
    engine.dispose()


@pytest.mark.parametrize("url", ["postgresql"], indirect=True)
def test_names_sort_by_their_bytes(url: str) -> None:
    columns = {"name", "tenant", "task_id", "model", "route", "key", "job_id", "dataset"}
    query = "SELECT column_name, collation_name FROM information_schema.columns WHERE table_schema = 'public'"
    engine = engine_of(url)
    with engine.connect() as connection:
        found = connection.execute(text(query)).all()
    assert {collation for column, collation in found if column in columns} == {"C"}
    engine.dispose()


def test_processes_that_open_at_once_migrate_once(empty_url: str) -> None:
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-W", "error", "-c", OPEN, empty_url]
    openers = [subprocess.Popen(command, env=environment) for _ in range(4)]
    assert [opener.wait(timeout=60) for opener in openers] == [0] * 4
    store = open_store(empty_url)
    assert store.models() == ([], None)
    store.close()


def test_threads_that_open_at_once_migrate_once(empty_url: str) -> None:
    with ThreadPoolExecutor(8) as pool:
        stores = list(pool.map(open_store, [empty_url] * 8))
    for store in stores:
        store.check_writable()
        store.close()


def test_opening_again_keeps_everything(store: Store, add: Callable[..., Revision], url: str) -> None:
    added = add()
    reopened = open_store(url)
    assert reopened.revision("default", "patient-17", now=added.created_at) == added
    reopened.close()


def test_database_of_a_newer_release_is_refused(empty_url: str) -> None:
    open_store(empty_url).close()
    engine = engine_of(empty_url)
    with engine.begin() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = 'newer'"))
    with pytest.raises(StoreUnavailable, match="got newer; run the newer release"):
        open_store(empty_url)
    engine.dispose()


FIRST_RELEASE = """
INSERT INTO models VALUES ('empty', NULL, :now), ('sinusoid', 1, :now);
INSERT INTO model_versions VALUES ('sinusoid', 1, :now, 'aa', 1, '{"a": 1}', :blob);
INSERT INTO model_versions VALUES ('sinusoid', 7, :now, 'bb', 1, '{"a": 2}', :blob);
INSERT INTO tasks VALUES ('default', 'patient-17', 'sinusoid', 2, 2, :now, :now, NULL);
INSERT INTO revisions VALUES
('default', 'patient-17', 2, 'sinusoid', 7, 'weights', 2, 1, 'cc', 'dd', :now, NULL, '{}', '{}', :blob, :blob);
INSERT INTO idempotent_answers VALUES ('default', '/adapt', 'key', 'ee', 201, 'patient-17', :now, '{"b": 1}');
"""


def test_database_of_the_first_release_goes_on_with_all_that_is_in_it(empty_url: str, now: datetime) -> None:
    engine = engine_of(empty_url)
    config = Config()
    config.set_main_option("script_location", str(ROOT / "app" / "store" / "migrations"))
    with engine.begin() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, "0001")
        parameters = [bindparam("now", now, UtcDateTime), bindparam("blob", b"x")]
        for statement in filter(str.strip, FIRST_RELEASE.split(";")):
            used = [parameter for parameter in parameters if f":{parameter.key}" in statement]
            connection.execute(text(statement).bindparams(*used))
    engine.dispose()
    store = open_store(empty_url)
    assert [version.version for version in store.model("sinusoid").versions] == [1, 7]
    assert store.model_weights("sinusoid", 7) == b"x"
    revision = store.revision("default", "patient-17", now=now)
    assert (revision.model_version, revision.created_at, revision.authority) == (7, now, "weights")
    assert store.revision_weights("default", "patient-17", now=now) == b"x"
    assert store.authority("sinusoid") == "weights"
    answer = store.idempotent_answer("default", "/adapt", "key")
    assert answer is not None
    assert answer.answer == {"b": 1}
    assert store.add_model_version("sinusoid", {}, b"new").version == 8
    assert store.add_model_version("empty", {}, b"new").version == 1
    assert store.jobs("default") == ([], None)
    store.close()
