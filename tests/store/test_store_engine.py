from pathlib import Path

import pytest
from sqlalchemy import text
from sqlalchemy.exc import SQLAlchemyError

from app.store import Synchronous, open_store
from app.store.engine import database_url, make_engine


@pytest.mark.parametrize("scheme", ["postgres", "postgresql", "postgresql+psycopg"])
def test_postgresql_is_reached_by_psycopg(scheme: str) -> None:
    assert database_url(f"{scheme}://user:secret@host/name").drivername == "postgresql+psycopg"


@pytest.mark.parametrize("url", ["", "store.db", "mysql://host/name", "sqlite://", "sqlite:///:memory:"])
def test_other_urls_are_refused(url: str) -> None:
    with pytest.raises(ValueError, match="expected"):
        open_store(url)


def test_refusal_does_not_tell_the_password() -> None:
    with pytest.raises(ValueError, match="mysql") as refusal:
        database_url("mysql://user:secret@host/name")
    assert "secret" not in str(refusal.value)


def test_errors_do_not_tell_what_a_statement_was_given(url: str) -> None:
    engine = make_engine(url, synchronous="NORMAL", wait_ms=1000, num_connections=1)
    with engine.connect() as connection, pytest.raises(SQLAlchemyError) as told:
        connection.execute(text("SELECT * FROM nowhere WHERE rows = :rows"), {"rows": "rows of a caller"})
    assert "nowhere" in str(told.value)
    assert "rows of a caller" not in str(told.value)
    engine.dispose()


@pytest.mark.parametrize(("synchronous", "level"), [("NORMAL", 1), ("FULL", 2)])
def test_every_sqlite_connection_is_set_up(tmp_path: Path, synchronous: Synchronous, level: int) -> None:
    url = f"sqlite:///{tmp_path}/store.db"
    engine = make_engine(url, synchronous=synchronous, wait_ms=1234, num_connections=2)
    with engine.connect() as first, engine.connect() as second:
        for connection in (first, second):
            found = {
                name: connection.execute(text(f"PRAGMA {name}")).scalar()
                for name in ("journal_mode", "synchronous", "busy_timeout", "foreign_keys", "secure_delete")
            }
            assert found == {
                "journal_mode": "wal",
                "synchronous": level,
                "busy_timeout": 1234,
                "foreign_keys": 1,
                "secure_delete": 1,
            }
    engine.dispose()


def test_folder_of_the_file_is_made(tmp_path: Path) -> None:
    open_store(f"sqlite:///{tmp_path}/a/b/store.db").close()
    assert (tmp_path / "a" / "b" / "store.db").exists()
