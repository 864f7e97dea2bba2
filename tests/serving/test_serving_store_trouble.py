"""A store that is read-only, full or gone for a while: a problem document, nothing lost, and back by itself."""

from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from tests.api.service import Service, start_service

BODY = {"task_id": "before", "support": {"inputs": [[1.0], [2.0]], "targets": [0.5, 1.0]}}
FULL = """
CREATE FUNCTION full_disk() RETURNS trigger LANGUAGE plpgsql AS
$$ BEGIN RAISE EXCEPTION 'could not extend file: No space left on device' USING ERRCODE = '53100'; END $$;
CREATE TRIGGER full_disk BEFORE INSERT ON revisions EXECUTE FUNCTION full_disk();
"""


@pytest.fixture
def service(tmp_path: Path, new_postgresql_url: str) -> Iterator[Service]:
    running = start_service(tmp_path / "data", database_url=new_postgresql_url)
    assert running.http.post("/adapt", json=BODY).status_code == 201
    yield running
    assert running.stop() == 0


def execute(url: str, statement: str) -> None:
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(statement.encode())


def disconnect_others(url: str) -> None:
    """End the service's connections, so that new ones see the database's new settings."""
    execute(
        url,
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid() "
        "AND datname = current_database()",
    )


def still_there(service: Service) -> None:
    assert service.http.get("/healthz").status_code == 200
    assert service.http.post("/predict", json={"task_id": "before", "inputs": [[1.0]]}).status_code == 200
    assert service.http.get("/tasks/before").json()["revision"] == 1


def test_a_full_store_is_507_and_half_of_nothing_is_kept(service: Service, new_postgresql_url: str) -> None:
    execute(new_postgresql_url, FULL)
    answer = service.http.post("/adapt", json={**BODY, "task_id": "new"})
    assert (answer.status_code, answer.json()["code"]) == (507, "store-full")
    assert service.http.get("/tasks/new").status_code == 404
    still_there(service)
    execute(new_postgresql_url, "DROP TRIGGER full_disk ON revisions")
    assert service.http.post("/adapt", json={**BODY, "task_id": "new"}).json()["revision"] == 1


def test_a_read_only_store_is_503_and_reading_goes_on(service: Service, new_postgresql_url: str) -> None:
    name = new_postgresql_url.rpartition("/db_")[2].partition("?")[0]
    execute(new_postgresql_url, f'ALTER DATABASE "db_{name}" SET default_transaction_read_only = on')
    disconnect_others(new_postgresql_url)
    answer = service.http.post("/adapt", json={**BODY, "task_id": "new"})
    assert (answer.status_code, answer.json()["code"]) == (503, "store-unavailable")
    assert answer.headers["Retry-After"]
    readiness = service.http.get("/readyz")
    assert readiness.status_code == 503
    assert readiness.json()["ready"] is False
    still_there(service)
    with psycopg.connect(new_postgresql_url, autocommit=True) as connection:
        connection.execute("SET default_transaction_read_only = off")
        connection.execute(f'ALTER DATABASE "db_{name}" RESET default_transaction_read_only'.encode())
    disconnect_others(new_postgresql_url)
    assert service.http.post("/adapt", json={**BODY, "task_id": "new"}).status_code == 201
    assert service.http.get("/readyz").status_code == 200
