"""What was deleted, has expired or was taken out is nowhere any more: not in the database's files, not in a cache."""

import asyncio
import contextlib
import sqlite3
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from app.api.context import Context
from tests.api.asking import Json
from tests.api.test_api_batched import served

KEY = "key-a-word-that-is-nowhere-else"
WORST_SECONDS = 60.0
INPUTS = np.linspace(0.1234567, 4.7654321, 12, dtype=np.float32)
TARGETS = np.linspace(-3.1415926, 2.7182818, 12, dtype=np.float32)
SUPPORT: Json = {"inputs": INPUTS[:, None].tolist(), "targets": TARGETS.tolist()}


async def secrets_of(http: httpx.AsyncClient, task_id: str) -> dict[str, bytes]:
    """Adapt a task and return what of it must go, as the database keeps it."""
    body = {"task_id": task_id, "support": SUPPORT, "steps": 3}
    answer = await http.post("/adapt", json=body, headers={"Idempotency-Key": f"{KEY}-{task_id}"})
    assert answer.status_code == 201, answer.text
    weights = (await http.get(f"/tasks/{task_id}/weights", params={"form": "delta"})).content
    return {
        "inputs": INPUTS.tobytes(),
        "targets": TARGETS.tobytes(),
        "one row": INPUTS[5:8].tobytes(),
        "weights": weights[-64:],
        "more weights": weights[-4096:-4032],
        "loss": repr(answer.json()["support_loss"][-1]).encode(),
        "key": f"{KEY}-{task_id}".encode(),
    }


def found_in(folder: Path, secrets: dict[str, bytes]) -> dict[str, list[str]]:
    """Return which secrets are in which files of the database, its log and its journal among them."""
    held = {file.name: file.read_bytes() for file in folder.glob("innerloop.db*")}
    assert "innerloop.db" in held
    places = {name: [file for file, data in held.items() if secret in data] for name, secret in secrets.items()}
    return {name: files for name, files in places.items() if files}


async def gone(folder: Path, secrets: dict[str, bytes]) -> float:
    """Wait until nothing is found and return how long that took; fails after a minute."""
    began = time.monotonic()
    while places := found_in(folder, secrets):
        took = time.monotonic() - began
        assert took < WORST_SECONDS, places
        await asyncio.sleep(0.1)
    return time.monotonic() - began


@contextlib.contextmanager
def reading(folder: Path) -> Iterator[None]:
    """Keep a reader's moment of the database, which keeps the log from being cut."""
    connection = sqlite3.connect(folder / "innerloop.db", isolation_level=None)
    connection.execute("BEGIN")
    connection.execute("SELECT count(*) FROM revisions").fetchall()
    yield
    connection.execute("COMMIT")
    connection.close()


def held_in_memory(context: Context, task_id: str) -> list[Any]:
    return [key for key in context.engine.cached_tasks() if key.task_id == task_id]


async def test_a_deleted_task_is_in_no_file_and_no_cache(tmp_path: Path) -> None:
    async with served(tmp_path) as (http, context):
        secrets = await secrets_of(http, "gone")
        assert found_in(tmp_path, secrets).keys() == secrets.keys()  # they are found where they are
        assert (await http.delete("/tasks/gone")).status_code == 204
        assert found_in(tmp_path, secrets) == {}  # at once
        assert held_in_memory(context, "gone") == []


async def test_an_expired_task_is_in_no_file_and_no_cache_within_a_minute(tmp_path: Path) -> None:
    async with served(tmp_path, purge_every_seconds=0.5) as (http, context):
        secrets = await secrets_of(http, "gone")
        body = {"task_id": "gone", "support": SUPPORT, "steps": 3, "ttl_seconds": 1}
        assert (await http.post("/adapt", json=body)).status_code == 200
        assert (await gone(tmp_path, secrets)) < 10
        assert held_in_memory(context, "gone") == []


async def test_an_expired_task_that_is_adapted_anew_leaves_nothing_of_the_old_one(tmp_path: Path) -> None:
    async with served(tmp_path, purge_every_seconds=3.0) as (http, context):
        secrets = await secrets_of(http, "again")
        body = {"task_id": "again", "support": SUPPORT, "steps": 3, "ttl_seconds": 1}
        assert (await http.post("/adapt", json=body)).status_code == 200
        await asyncio.sleep(1.1)  # it has expired, and nobody has deleted it yet
        body = {"task_id": "again", "support": {"inputs": [[1.0]], "targets": [2.0]}}
        assert (await http.post("/adapt", json=body)).status_code == 201
        assert (await gone(tmp_path, secrets)) < 10
        assert {key.revision for key in held_in_memory(context, "again")} == {2}


async def test_a_revision_that_is_no_longer_kept_is_in_no_file(tmp_path: Path) -> None:
    async with served(tmp_path, purge_every_seconds=0.5, max_revisions=1) as (http, _):
        secrets = await secrets_of(http, "pruned")
        body = {"task_id": "pruned", "support": {"inputs": [[1.0]], "targets": [2.0]}}
        assert (await http.post("/adapt", json=body)).status_code == 201
        rows = {name: secrets[name] for name in ("inputs", "targets", "weights", "more weights")}
        assert (await gone(tmp_path, rows)) < 10


async def test_a_row_that_was_taken_out_is_in_no_file(tmp_path: Path) -> None:
    async with served(tmp_path) as (http, context):
        secrets = await secrets_of(http, "less")
        assert (await http.delete("/tasks/less/support/6")).status_code == 200
        assert found_in(tmp_path, secrets) == {}  # at once
        row = {"input": INPUTS[6:7].tobytes(), "target": TARGETS[6:7].tobytes()}
        held = context.store.revision_support("default", "less", now=datetime.now(UTC))
        assert not any(number in held for number in row.values())
        assert INPUTS[7:].tobytes() in held


async def test_rows_that_are_not_to_be_stored_are_never_in_a_file(tmp_path: Path) -> None:
    async with served(tmp_path) as (http, _):
        body = {"task_id": "kept", "support": SUPPORT, "store_support": False}
        assert (await http.post("/adapt", json=body)).status_code == 201
        places = found_in(tmp_path, {"inputs": INPUTS.tobytes(), "a row": INPUTS[5:8].tobytes()})
        assert places == {}
        weights = (await http.get("/tasks/kept/weights", params={"form": "delta"})).content
        assert found_in(tmp_path, {"weights": weights[-64:]}) != {}


async def test_a_reader_in_the_way_holds_up_neither_the_deletion_nor_what_follows(tmp_path: Path) -> None:
    async with served(tmp_path, purge_every_seconds=0.5) as (http, _):
        secrets = await secrets_of(http, "gone")
        with reading(tmp_path):
            assert (await http.delete("/tasks/gone")).status_code == 204
            assert found_in(tmp_path, secrets)  # the reader may still ask for it
        assert (await gone(tmp_path, secrets)) < 10


async def test_what_is_deleted_while_others_read_and_write_is_soon_in_no_file(tmp_path: Path) -> None:
    async with served(tmp_path, purge_every_seconds=0.5) as (http, _):
        secrets = await secrets_of(http, "gone")
        stopped = False

        async def use(name: str) -> int:
            num_calls = 0
            while not stopped:
                support = {"inputs": [[1.0], [2.0]], "targets": [2.0, 1.0]}
                body = {"task_id": name, "support": support, "steps": num_calls % 5, "estimate": False}
                assert (await http.post("/adapt", json=body)).status_code == 201
                assert (await http.post("/predict", json={"task_id": name, "inputs": [[1.0]]})).status_code == 200
                num_calls += 1
            return num_calls

        others = [asyncio.create_task(use(f"other-{i}")) for i in range(16)]
        await asyncio.sleep(0.5)
        assert (await http.delete("/tasks/gone")).status_code == 204
        took = await gone(tmp_path, secrets)
        stopped = True
        assert all(num_calls > 1 for num_calls in await asyncio.gather(*others))
        assert took < 10


@pytest.mark.parametrize("num_tasks", [20])
async def test_what_is_deleted_among_others_goes_and_they_stay(tmp_path: Path, num_tasks: int) -> None:
    async with served(tmp_path) as (http, _):
        secrets = {}
        for i in range(num_tasks):
            secrets[i] = await secrets_of(http, f"t{i}")
        for i in range(0, num_tasks, 2):
            assert (await http.delete(f"/tasks/t{i}")).status_code == 204
        for i in range(num_tasks):
            of_task = {"key": secrets[i]["key"]}
            assert bool(found_in(tmp_path, of_task)) == bool(i % 2)
