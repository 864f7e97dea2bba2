"""What the service and its commands write is their user's alone, whatever the mask of the shell that starts them."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from app.settings import REPOSITORY
from tests.api.asking import adapt
from tests.api.service import Service, start_service

OTHERS = 0o077
"""What a group and everybody may do with a file."""


@pytest.fixture(autouse=True)
def _usual_mask() -> Iterator[None]:
    """Start what a test starts as most shells do."""
    before = os.umask(0o022)
    yield
    os.umask(before)


def open_to_others(folder: Path) -> dict[str, str]:
    """Return what is in a folder that others may read, write or enter, and its mode; logs are the test's own."""
    found = [folder, *folder.rglob("*")]
    return {str(one): oct(one.stat().st_mode) for one in found if one.stat().st_mode & OTHERS and one.suffix != ".log"}


def environment_of(folder: Path) -> dict[str, str]:
    return {"PATH": os.environ["PATH"], "DATA_DIR": str(folder), "OMP_NUM_THREADS": "1"}


def command(folder: Path, *arguments: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "app", *arguments],
        cwd=REPOSITORY,
        env=environment_of(folder),
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr


def start(folder: Path) -> Service:
    """Start a service whose folder is not there yet; its log lies beside it."""
    return start_service(folder.parent.parent / "logs", data_dir=folder)


def test_what_a_service_stores_is_its_users_alone(tmp_path: Path) -> None:
    folder = tmp_path / "deep" / "data"
    service = start(folder)
    adapt(service.http, task_id="personal")
    assert {"innerloop.db", "innerloop.db-wal", "innerloop.db-shm"} <= {one.name for one in folder.iterdir()}
    assert open_to_others(folder) == {}
    assert service.stop() == 0
    assert open_to_others(folder) == {}


def test_what_commands_store_is_their_users_alone(tmp_path: Path) -> None:
    folder, file = tmp_path / "data", tmp_path / "copy.zip"
    command(folder, "keys", "create", "--tenant", "acme")
    command(folder, "backup", str(file))
    command(tmp_path / "again", "restore", str(file))
    for one in (folder, tmp_path / "again"):
        assert (one / "innerloop.db").is_file()
        assert open_to_others(one) == {}
    assert not file.stat().st_mode & OTHERS


def test_what_a_worker_stores_is_its_users_alone(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    command_line = [sys.executable, "-m", "app", "worker"]
    with subprocess.Popen(
        command_line, cwd=REPOSITORY, env=environment_of(folder), stderr=subprocess.PIPE, text=True
    ) as worker:
        assert worker.stderr is not None
        assert "working on meta-training jobs" in worker.stderr.readline()
        assert (folder / "innerloop.db").is_file()
        assert open_to_others(folder) == {}
        worker.terminate()
        assert worker.wait(60) == 0


def test_a_folder_that_is_there_keeps_its_mode(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    folder.mkdir(mode=0o755)
    command(folder, "keys", "create", "--tenant", "acme")
    assert folder.stat().st_mode & 0o777 == 0o755
    assert {Path(one).name for one in open_to_others(folder)} == {"data"}
