"""`python -m app keys`: made, listed, revoked."""

import re
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from app.__main__ import cli
from app.bearer_keys import hashed
from app.store import open_store


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("DATA_DIR", str(tmp_path))
    monkeypatch.delenv("DATABASE_URL", raising=False)
    return tmp_path


def keys(*arguments: str, status: int = 0) -> Result:
    done = CliRunner().invoke(cli, ["keys", *arguments])
    assert done.exit_code == status, done.output
    return done


def test_a_key_is_written_once_and_stored_as_a_hash(folder: Path) -> None:
    done = keys("create", "--tenant", "acme", "--scopes", "train, use", "--name", "the nightly job")
    key = done.stdout.strip()
    found = re.fullmatch(r"il_([0-9a-f]{12})_[A-Za-z0-9_-]{43}", key)
    assert found is not None
    assert "use,train" in done.stderr
    store = open_store(f"sqlite:///{folder}/innerloop.db")
    (identity,) = store.identities([hashed(key)])
    assert identity == ("acme", found[1], frozenset(("use", "train")))
    store.close()
    listed = keys("list").stdout
    assert re.search(rf"{found[1]} +acme +use,train +20\S+Z +- +the nightly job", listed)
    assert key[-43:] not in listed
    assert hashed(key) not in listed


def test_keys_are_all_different(folder: Path) -> None:
    made = {keys("create", "--tenant", "acme").stdout for _ in range(5)}
    assert len(made) == 5


def test_a_list_names_the_keys_of_a_tenant(folder: Path) -> None:
    for tenant in ("acme", "other"):
        keys("create", "--tenant", tenant)
    assert len(keys("list").stdout.splitlines()) == 3
    (_, line) = keys("list", "--tenant", "other").stdout.splitlines()
    assert "other" in line
    assert len(keys("list", "--tenant", "nobody").stdout.splitlines()) == 1


def test_a_key_is_revoked_once_and_for_all(folder: Path) -> None:
    key = keys("create", "--tenant", "acme").stdout.strip()
    key_id = key.split("_")[1]
    first = keys("revoke", key_id).stdout
    assert key_id in first
    assert keys("revoke", key_id).stdout == first
    store = open_store(f"sqlite:///{folder}/innerloop.db")
    assert store.identities([hashed(key)]) == [None]
    store.close()
    assert re.search(rf"{key_id} .*Z +20\S+Z", keys("list").stdout)


@pytest.mark.parametrize(
    ("arguments", "status", "word"),
    [
        (("create",), 2, "--tenant"),
        (("create", "--tenant", "a/b"), 2, "--tenant"),
        (("create", "--tenant", ""), 2, "--tenant"),
        (("create", "--tenant", "a" * 65), 2, "--tenant"),
        (("create", "--tenant", "acme", "--scopes", "root"), 2, "admin"),
        (("create", "--tenant", "acme", "--scopes", ""), 2, "admin"),
        (("create", "--tenant", "acme", "--name", "two\nlines"), 2, "--name"),
        (("revoke", "nobodys"), 1, "nobodys"),
        (("revoke",), 2, "Missing argument"),
    ],
)
def test_what_is_wrong_is_told_and_makes_no_key(
    folder: Path, arguments: tuple[str, ...], status: int, word: str
) -> None:
    keys("create", "--tenant", "another")
    assert word in keys(*arguments, status=status).output
    assert len(keys("list").stdout.splitlines()) == 2


def test_a_store_that_is_not_there_is_told(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATABASE_URL", "mysql://somewhere/else")
    assert "error:" in keys("list", status=1).output
