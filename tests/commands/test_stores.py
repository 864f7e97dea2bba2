"""The store that a command works on: named, never made by a command that looks for something, private."""

from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from app.__main__ import cli
from app.commands.stores import name_of
from app.settings import Settings


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("DATA_DIR", str(tmp_path / "data"))
    monkeypatch.delenv("DATABASE_URL", raising=False)
    return tmp_path / "data"


def run(*arguments: str, status: int = 0) -> Result:
    done = CliRunner().invoke(cli, arguments)
    assert done.exit_code == status, done.output
    return done


@pytest.mark.parametrize("arguments", [["keys", "list"], ["keys", "revoke", "0123456789ab"], ["backup", "to.zip"]])
def test_a_store_that_is_not_there_is_not_made_by_looking(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    said = run(*arguments, status=1).stderr
    assert f"there is no store at {folder}/innerloop.db" in said
    assert "DATA_DIR" in said
    assert list(tmp_path.iterdir()) == []


def test_a_store_that_is_begun_is_said_to_be_new_and_named(folder: Path, tmp_path: Path) -> None:
    said = run("keys", "create", "--tenant", "acme").stderr
    assert f"in a new store at {folder}/innerloop.db; it is shown this once" in said
    said = run("keys", "create", "--tenant", "acme").stderr
    assert f"in {folder}/innerloop.db; it is shown this once" in said
    assert f"2 api_keys, from {folder}/innerloop.db" in run("backup", str(tmp_path / "b.zip")).stdout


def test_a_key_is_revoked_by_its_id_or_as_a_whole(folder: Path) -> None:
    one, other = (run("keys", "create", "--tenant", "acme").stdout.strip() for _ in range(2))
    for given, key in ((one, one), (other[3:15], other)):
        done = run("keys", "revoke", given)
        assert key[3:15] in done.stdout
        assert key[16:] not in done.output
    said = run("keys", "revoke", "il_0123456789ab_" + "x" * 43, status=1).stderr
    assert "there is no key 0123456789ab;" in said


def test_a_database_is_named_without_its_password() -> None:
    name = name_of(Settings(database_url="postgresql://me:secret@db.example:5432/innerloop"))
    assert "db.example:5432/innerloop" in name
    assert "secret" not in name


def test_names_that_are_nearly_settings_are_warned_of(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TENANT_REQUEST_PER_SECOND", "1")
    done = run("keys", "create", "--tenant", "acme")
    assert "TENANT_REQUEST_PER_SECOND is no setting; TENANT_REQUESTS_PER_SECOND is" in done.stderr
