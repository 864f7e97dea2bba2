"""`python -m app backup` and `restore`: what was adapted predicts the same from another store."""

import sqlite3
from pathlib import Path

from typer.testing import CliRunner, Result

from app.__main__ import cli
from tests.api.asking import adapt, outputs, sine
from tests.api.service import start_service


def run(folder: Path, *arguments: str, **settings: str) -> Result:
    environment = {"DATA_DIR": str(folder), "COLUMNS": "200", **settings}
    return CliRunner(env=environment).invoke(cli, [*arguments])


def one_key(folder: Path) -> None:
    """Begin a store that has a key and nothing else."""
    assert run(folder, "keys", "create", "--tenant", "acme").exit_code == 0


def test_a_restored_service_predicts_as_the_first_did(tmp_path: Path) -> None:
    file = tmp_path / "backup.zip"
    service = start_service(tmp_path / "first", job_worker=False)
    try:
        adapt(service.http, task_id="kept", support=sine(6), steps=3)
        expected = outputs(service.http, task_id="kept", inputs=[[0.5], [1.0]])
        done = run(tmp_path / "first", "backup", str(file))  # while it serves
        assert done.exit_code == 0, done.output
        assert "1 revisions" in done.output
    finally:
        service.stop()
    done = run(tmp_path / "second", "restore", str(file))
    assert done.exit_code == 0, done.output
    assert done.output.startswith("restored ")
    service = start_service(tmp_path / "second", job_worker=False)
    try:
        assert outputs(service.http, task_id="kept", inputs=[[0.5], [1.0]]) == expected
        assert adapt(service.http, task_id="kept", support=sine(7)).revision == 2
    finally:
        service.stop()


def test_a_store_that_a_service_works_on_is_not_restored(tmp_path: Path) -> None:
    file, store = tmp_path / "backup.zip", tmp_path / "store"
    one_key(tmp_path / "other")
    run(tmp_path / "other", "backup", str(file))
    service = start_service(store, job_worker=False)
    try:
        done = run(store, "restore", str(file))
        assert done.exit_code == 1, done.output
        assert done.output.startswith("error: the store is not empty, there are models in it; restore into a new")
        assert service.http.get("/readyz").status_code == 200
    finally:
        service.stop()


def test_a_store_that_is_locked_is_not_restored(tmp_path: Path) -> None:
    file = tmp_path / "backup.zip"
    one_key(tmp_path / "other")
    run(tmp_path / "other", "backup", str(file))
    run(tmp_path / "store", "restore", str(file))
    with sqlite3.connect(tmp_path / "store" / "innerloop.db", isolation_level=None) as another:
        another.execute("BEGIN IMMEDIATE")
        done = run(tmp_path / "store", "restore", str(file), STORE_WAIT_MS="200")
        another.execute("ROLLBACK")
    another.close()
    assert done.exit_code == 1
    assert "locked" in done.output
    assert "nothing else may work on a store that is restored" in done.output


def test_what_cannot_be_done_is_said_in_a_line(tmp_path: Path) -> None:
    file = tmp_path / "backup.zip"
    for name in ("other", "store"):
        one_key(tmp_path / name)
    assert run(tmp_path / "other", "backup", str(file)).output.startswith("wrote 1 api_keys, from ")
    for arguments, reason in [
        (("backup", str(file)), "already"),
        (("backup", str(tmp_path / "nowhere" / "b.zip")), "No such file"),
        (("restore", str(Path(__file__))), "no backup"),
    ]:
        done = run(tmp_path / "store", *arguments)
        assert done.exit_code == 1, done.output
        assert done.output.startswith("error: ")
        assert reason in done.output
    assert run(tmp_path / "store", "restore", str(tmp_path / "none.zip")).exit_code == 2
