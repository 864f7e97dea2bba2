"""Backups go from either database into either, whole or not at all."""

import json
import os
import threading
import zipfile
from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection, select

from app.store import NewAnswer, NewKey, Note, Revision, Store, UnusableBackup, backup, keys, open_store
from app.store.engine import make_engine
from app.store.tables import Base
from innerloop.errors import StoreUnavailable

Add = Callable[..., Revision]
AllRows = Callable[[], dict[str, list[tuple[Any, ...]]]]
ANSWER: NewAnswer[Revision] = NewAnswer("/adapt", "key", "body", 201, lambda new: {"revision": new.revision, "n": None})


def rows_at(url: str) -> dict[str, list[tuple[Any, ...]]]:
    engine = make_engine(url, synchronous="NORMAL", wait_ms=1000, num_connections=1)
    with engine.connect() as connection:
        found = {
            table.name: [tuple(row) for row in connection.execute(select(table).order_by(*table.primary_key))]
            for table in Base.metadata.sorted_tables
        }
    engine.dispose()
    return found


@pytest.fixture(params=["sqlite", "postgresql"])
def other_url(request: pytest.FixtureRequest) -> str:
    """An empty database of either kind, beside that of `url`."""
    found: str = request.getfixturevalue(f"empty_{request.param}_url")
    return found


@pytest.fixture
def other(other_url: str) -> Iterator[Store]:
    store = open_store(other_url)
    yield store
    store.close()


@pytest.fixture
def filled(
    store: Store, add: Add, add_dataset: Callable[..., Any], add_job: Callable[..., Any], now: datetime
) -> Store:
    add(idempotent=ANSWER, classes=["ä", "\ud83d\ude00", "\0"], weights=bytes(range(256)) * 99, ttl_seconds=60)
    add("by rows", authority="rows", weights=None, answer={"deep": [1.5e-300, {"x": None}], "ü": True})
    add(latest=1)
    add("gone")
    store.delete_task("default", "gone", now=now)
    add_dataset()
    add_job()
    store.add_key(NewKey("key-1", "default", frozenset(("use",)), "its hash", "a name"), now=now)
    store.add_audit("default", "gone", None, Note("delete", "key-1", "request-1"), now=now)
    return store


def test_a_restored_store_holds_all_that_was_backed_up(
    filled: Store, other: Store, other_url: str, all_rows: AllRows, tmp_path: Path
) -> None:
    file = tmp_path / "backup.zip"
    written = filled.backup(file)
    assert (written["revisions"], written["tasks"], written["idempotent_answers"]) == (3, 3, 1)
    assert other.restore(file) == written
    assert rows_at(other_url) == all_rows()


def test_a_restored_store_goes_on(
    filled: Store, other: Store, tmp_path: Path, now: datetime, new_revision: Callable[..., Any]
) -> None:
    filled.backup(tmp_path / "backup.zip")
    other.restore(tmp_path / "backup.zip")
    more = other.add_revision(new_revision(), expected_latest=2, keep_revisions=20, now=now)
    again = other.add_revision(new_revision("gone"), expected_latest=0, keep_revisions=20, now=now)
    assert (more.revision, again.revision) == (3, 2)
    assert other.add_model_version("sinusoid", {}, b"new").version == 2


def test_a_backup_is_of_one_moment_while_others_write(
    store: Store, replica: Store, new_revision: Callable[..., Any], tmp_path: Path, now: datetime
) -> None:
    done = threading.Event()

    def write() -> None:
        for i in range(200):
            replica.add_revision(new_revision(f"t{i}"), expected_latest=0, keep_revisions=20, now=now)
            if done.is_set():
                return

    writer = threading.Thread(target=write)
    writer.start()
    counts = [store.backup(tmp_path / f"{i}.zip") for i in range(3)]
    done.set()
    writer.join()
    assert all(found["tasks"] == found["revisions"] for found in counts)
    assert [found["tasks"] for found in counts] == sorted(found["tasks"] for found in counts)


@pytest.mark.parametrize("url", ["sqlite"], indirect=True)
def test_a_backup_is_its_owners_alone_and_overwrites_nothing(filled: Store, tmp_path: Path) -> None:
    file = tmp_path / "backup.zip"
    filled.backup(file)
    assert file.stat().st_mode & 0o777 == 0o600
    before = file.read_bytes()
    with pytest.raises(FileExistsError, match="already"):
        filled.backup(file)
    assert file.read_bytes() == before
    (tmp_path / "next.zip.partial").touch()
    with pytest.raises(FileExistsError, match="another backup"):
        filled.backup(tmp_path / "next.zip")
    with pytest.raises(FileNotFoundError):
        filled.backup(tmp_path / "nowhere" / "next.zip")
    assert not (tmp_path / "next.zip").exists()


@pytest.mark.parametrize("url", ["sqlite"], indirect=True)
def test_a_backup_that_breaks_off_leaves_no_file(
    filled: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    before = sorted(tmp_path.iterdir())
    with pytest.raises(OSError, match="No space"):
        filled.backup(tmp_path / "backup.zip")
    assert sorted(tmp_path.iterdir()) == before


def test_a_store_that_is_not_empty_stays_as_it_is(filled: Store, all_rows: AllRows, tmp_path: Path) -> None:
    filled.backup(tmp_path / "backup.zip")
    before = all_rows()
    with pytest.raises(UnusableBackup, match="not empty"):
        filled.restore(tmp_path / "backup.zip")
    assert all_rows() == before


def rewritten(file: Path, name: str, content: bytes | None) -> None:
    """Replace one entry of a zip, or leave it out."""
    with zipfile.ZipFile(file) as archive:
        held = {entry: archive.read(entry) for entry in archive.namelist()}
    del held[name]
    with zipfile.ZipFile(file, "w") as archive:
        for entry, data in (held if content is None else held | {name: content}).items():
            archive.writestr(entry, data)


def manifest_of(file: Path, **changes: object) -> bytes:
    with zipfile.ZipFile(file) as archive:
        return json.dumps(json.loads(archive.read("manifest.json")) | changes).encode()


def content_of(file: Path, name: str) -> bytes:
    with zipfile.ZipFile(file) as archive:
        return archive.read(name)


WRONG: dict[str, Callable[[Path], object]] = {
    "no zip": lambda file: file.write_bytes(b"rows"),
    "empty": lambda file: file.write_bytes(b""),
    "cut off": lambda file: file.write_bytes(file.read_bytes()[:-100]),
    "no manifest": lambda file: rewritten(file, "manifest.json", None),
    "manifest is no JSON": lambda file: rewritten(file, "manifest.json", b"{"),
    "manifest is a list": lambda file: rewritten(file, "manifest.json", b"[]"),
    "another format": lambda file: rewritten(file, "manifest.json", manifest_of(file, format="other")),
    "a newer schema": lambda file: rewritten(file, "manifest.json", manifest_of(file, schema="9999")),
    "other tables": lambda file: rewritten(file, "manifest.json", manifest_of(file, rows={"tasks": 1})),
    "no counts": lambda file: rewritten(file, "manifest.json", manifest_of(file, rows=None)),
    "a table is missing": lambda file: rewritten(file, "revisions.jsonl", None),
    "rows are missing": lambda file: rewritten(file, "revisions.jsonl", b""),
    "a row is no JSON": lambda file: rewritten(file, "tasks.jsonl", b"{]\n"),
    "a row is no object": lambda file: rewritten(file, "tasks.jsonl", b"[1]\n"),
    "a row is there twice": lambda file: rewritten(file, "tasks.jsonl", 2 * content_of(file, "tasks.jsonl")),
    "a moment has no zone": lambda file: rewritten(
        file, "api_keys.jsonl", content_of(file, "api_keys.jsonl").replace(b"+00:00", b"")
    ),
    "a row has other columns": lambda file: rewritten(file, "tasks.jsonl", b'{"tenant": "x"}\n'),
}


@pytest.mark.parametrize("wrong", WRONG)
@pytest.mark.parametrize("url", ["sqlite"], indirect=True)
@pytest.mark.parametrize("other_url", ["sqlite"], indirect=True)
def test_what_is_no_backup_is_refused_and_nothing_is_restored(
    filled: Store, other: Store, other_url: str, tmp_path: Path, wrong: str
) -> None:
    file = tmp_path / "backup.zip"
    filled.backup(file)
    WRONG[wrong](file)
    with pytest.raises(UnusableBackup):
        other.restore(file)
    assert not any(rows_at(other_url).values())


@pytest.mark.parametrize("url", ["sqlite"], indirect=True)
def test_a_backup_of_another_schema_says_what_to_do(filled: Store, other: Store, tmp_path: Path) -> None:
    file = tmp_path / "backup.zip"
    filled.backup(file)
    rewritten(file, "manifest.json", manifest_of(file, schema="0003"))
    with pytest.raises(UnusableBackup, match=r"schema 0003, and this release has \d+; restore it with the release"):
        other.restore(file)


@pytest.mark.parametrize("url", ["sqlite"], indirect=True)
def test_nobody_writes_between_the_look_at_an_empty_store_and_its_end(
    filled: Store, other_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file, refused = tmp_path / "backup.zip", []
    filled.backup(file)
    service, other = open_store(other_url, wait_ms=200), open_store(other_url)
    check = backup._check_empty

    def checked(connection: Connection) -> None:
        check(connection)
        with pytest.raises(StoreUnavailable) as told:  # a service that starts just now registers its models
            service.add_model_version("sinusoid", {}, b"weights")
        refused.append(told.value)

    monkeypatch.setattr(backup, "_check_empty", checked)
    assert other.restore(file)["tasks"] == 3
    assert len(refused) == 1
    assert service.add_model_version("sinusoid", {}, b"weights").version == 2
    for store in (service, other):
        store.close()


@pytest.mark.parametrize("url", ["sqlite"], indirect=True)
def test_a_store_that_somebody_writes_to_is_not_restored(
    filled: Store, other_url: str, tmp_path: Path, now: datetime
) -> None:
    filled.backup(tmp_path / "backup.zip")
    service, other = open_store(other_url), open_store(other_url, wait_ms=200)
    with service._database.write() as session:
        keys.add(session, NewKey("key-2", "default", frozenset(), "hash"), now)
        session.flush()
        with pytest.raises(StoreUnavailable, match="locked"):
            other.restore(tmp_path / "backup.zip")
    with pytest.raises(UnusableBackup, match="not empty, there are api_keys in it"):
        other.restore(tmp_path / "backup.zip")
    for store in (service, other):
        store.close()


@pytest.mark.parametrize("url", ["sqlite"], indirect=True)
@pytest.mark.parametrize("other_url", ["sqlite"], indirect=True)
def test_a_flipped_byte_is_found(filled: Store, other: Store, other_url: str, tmp_path: Path) -> None:
    file = tmp_path / "backup.zip"
    filled.backup(file)
    with zipfile.ZipFile(file) as archive:
        entry = archive.getinfo("revisions.jsonl")
    data = bytearray(file.read_bytes())
    data[entry.header_offset + 30 + len(entry.filename) + entry.compress_size // 2] ^= 0x10
    file.write_bytes(data)
    with pytest.raises(UnusableBackup):
        other.restore(file)
    assert not any(rows_at(other_url).values())
