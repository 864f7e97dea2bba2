"""Migration: bring a database to the tables of this release, once, however many start at the same moment."""

import threading
from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from alembic.util import CommandError
from sqlalchemy import Connection, Engine, text

from app.store.foreign_errors import translated, unavailable

# Any number will do, as long as nothing else in the database locks the same one.
_ADVISORY_LOCK = 7_205_759_403
# Alembic keeps the migration that runs in a global of its own.
_ONE_AT_A_TIME = threading.Lock()


def migrate(engine: Engine) -> None:
    """Run the migrations that the database lacks, all in one transaction, or nothing when it lacks none.

    Others that start meanwhile wait for as long as the engine waits for locks, and find it done. A database
    that is up to date is not written to. StoreUnavailable when a newer release has migrated it.
    """
    config = Config()
    folder = Path(__file__).with_name("migrations")
    config.set_main_option("script_location", str(folder).replace("%", "%%"))  # % is special in an ini value
    scripts = ScriptDirectory.from_config(config)
    with translated():
        with engine.connect() as connection:
            if _revision(connection, scripts) == scripts.get_current_head():
                return
        with _ONE_AT_A_TIME, engine.execution_options(sqlite_begin="IMMEDIATE").begin() as connection:
            _upgrade(connection, config)


def _revision(connection: Connection, scripts: ScriptDirectory) -> str | None:
    revision = MigrationContext.configure(connection).get_current_revision()
    try:
        scripts.get_revision(revision or "base")
    except CommandError as error:
        detail = f"expected a database of this release or an older one, got {revision}; run the newer release"
        raise unavailable(detail) from error
    return revision


def _upgrade(connection: Connection, config: Config) -> None:
    if connection.dialect.name == "postgresql":
        connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _ADVISORY_LOCK})
    config.attributes["connection"] = connection
    command.upgrade(config, "head")
