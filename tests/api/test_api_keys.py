"""Keys: who is served, from when on and until when, and where a key never shows up."""

import asyncio
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import httpx
import pytest

from app.api.event_stream import ASK_AGAIN_SECONDS
from app.api.key_watch import LOOK_EVERY_SECONDS
from app.bearer_keys import BearerKey, hashed, new_key
from app.settings import REPOSITORY
from app.store import Store
from tests.api.asking import SUPPORT, Json, adapt, problem_of
from tests.api.service import Service, start_service
from tests.api.tenants import bearer, client_of, make_key, revoke_key
from tests.api.test_api_batched import served
from tests.serving.jobs import REQUEST

ASK: Json = {"support": SUPPORT, "inputs": [[0.5]]}


class Guarded(NamedTuple):
    """A service with a key, and its folder."""

    service: Service
    folder: Path
    key: BearerKey


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Guarded]:
    folder = tmp_path_factory.mktemp("guarded")
    key = make_key(folder, "acme")
    service = start_service(folder)
    yield Guarded(service, folder, key)
    service.stop()


def command(folder: Path, *arguments: str) -> str:
    """Run `python -m app keys` and return what it writes."""
    environment = {"PATH": "/usr/bin:/bin", "DATA_DIR": str(folder), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "-m", "app", "keys", *arguments],
        cwd=REPOSITORY,
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_keys_made_and_revoked_by_command_count_on_a_running_service(tmp_path: Path) -> None:
    service = start_service(tmp_path)
    assert adapt(service.http, task_id="everybodys").revision == 1
    key = command(tmp_path, "create", "--tenant", "acme", "--scopes", "use,train", "--name", "the first").strip()
    made = time.monotonic()
    while service.http.post("/predict", json=ASK).status_code == 200:
        assert time.monotonic() - made < LOOK_EVERY_SECONDS + 1.0
    for path in ("/tasks", "/models", "/v2/models/stats", "/datasets"):
        problem_of(service.http.get(path), 401, "unauthorized")
    headers = {"Authorization": f"Bearer {key}"}
    assert service.http.post("/predict", json=ASK, headers=headers).status_code == 200
    assert service.http.get("/tasks", headers=headers).json()["data"] == []  # everybody's tasks are not theirs
    key_id = key.split("_")[1]
    assert key_id in command(tmp_path, "list", "--tenant", "acme")
    second = command(tmp_path, "create", "--tenant", "default").strip()
    answer = service.http.get("/tasks/everybodys", headers={"Authorization": f"Bearer {second}"})
    assert answer.status_code == 200  # a later key counts at once, and what was there before belongs to `default`
    command(tmp_path, "revoke", key_id)
    problem_of(service.http.post("/predict", json=ASK, headers=headers), 401, "unauthorized")
    assert service.stop() == 0


@pytest.mark.parametrize("path", ["/predict", "/adapt", "/predict/batch"])
def test_a_revoked_key_is_refused_at_the_very_next_call(guarded: Guarded, path: str) -> None:
    key = make_key(guarded.folder, "acme", "use")
    body: Any = {"support": SUPPORT} if path == "/adapt" else ASK
    with client_of(guarded.service, key) as http:
        for _ in range(3):
            assert http.post(path, json=[body] if path.endswith("batch") else body).status_code in (200, 201)
        revoke_key(guarded.folder, key)
        told = problem_of(http.post(path, json=body), 401, "unauthorized")
        assert told.detail == "the key is not known, or was revoked"


def test_revoking_the_last_key_opens_nothing(tmp_path: Path) -> None:
    key = make_key(tmp_path, "acme")
    revoke_key(tmp_path, key)
    service = start_service(tmp_path)
    problem_of(service.http.get("/tasks"), 401, "unauthorized")
    with client_of(service, key) as http:
        problem_of(http.post("/predict", json=ASK), 401, "unauthorized")
    assert service.stop() == 0


def changed(key: BearerKey) -> list[str]:
    text = key.text
    other = "A" if text[-1] != "A" else "B"
    return [
        "",
        "Bearer",
        "Bearer il_",
        f"Basic {text}",
        text,
        f"Bearer {text[:-1]}{other}",
        f"Bearer {text[:-1]}",
        f"Bearer {text}A",
        f"Bearer {text.upper()}",
        f"Bearer {text} {text}",
        f"Bearer {hashed(text)}",
        f"Bearer il_{key.key_id}_",
        f"Bearer {new_key().text}",
        f"Bearer il_{key.key_id}_{new_key().text[-43:]}",
        "Bearer " + "x" * 5000,
        "Bearer \xff\xfe",
        "Bearer ' OR 1=1 --",
    ]


@pytest.mark.parametrize("place", range(17))
def test_what_is_almost_a_key_is_none(guarded: Guarded, place: int) -> None:
    header = changed(guarded.key)[place].encode("latin-1")
    for path in ("/predict", "/meta-train"):
        answer = guarded.service.http.post(path, json=ASK, headers={b"Authorization": header})
        told = problem_of(answer, 401, "unauthorized")
        assert guarded.key.text not in answer.text
        assert told.errors == []


def test_a_key_in_the_url_or_in_another_header_is_none(guarded: Guarded) -> None:
    for params in ({"api_key": guarded.key.text}, {"access_token": guarded.key.text}):
        problem_of(guarded.service.http.get("/tasks", params=params), 401, "unauthorized")
    answer = guarded.service.http.get("/tasks", headers={"X-API-Key": guarded.key.text})
    problem_of(answer, 401, "unauthorized")


def test_the_scheme_is_read_in_any_case(guarded: Guarded) -> None:
    for scheme in ("bearer", "BEARER", "Bearer "):
        answer = guarded.service.http.get("/tasks", headers={"Authorization": f"{scheme} {guarded.key.text}"})
        assert answer.status_code == 200


def test_the_key_is_asked_for_before_the_body_is_read(guarded: Guarded) -> None:
    answer = guarded.service.http.post("/adapt", content=b"not JSON", headers={"Content-Type": "text/plain"})
    problem_of(answer, 401, "unauthorized")


def test_the_database_holds_a_hash_and_never_the_key(guarded: Guarded) -> None:
    files = [file.read_bytes() for file in guarded.folder.glob("innerloop.db*")]
    secret = guarded.key.text[-43:]
    assert files
    assert not any(guarded.key.text.encode() in data or secret.encode() in data for data in files)
    with sqlite3.connect(guarded.folder / "innerloop.db") as connection:
        query = "SELECT sha256 FROM api_keys WHERE key_id = ?"
        assert connection.execute(query, (guarded.key.key_id,)).fetchone() == (hashed(guarded.key.text),)


def test_logs_hold_neither_keys_nor_bodies(guarded: Guarded) -> None:
    key, told = make_key(guarded.folder, "acme"), "a-class-that-nobody-else-names"
    support = {"inputs": [[0.25] * 784, [0.5] * 784], "targets": [told, "other"]}
    with client_of(guarded.service, key) as http:
        for body in ({"support": support}, {"support": support, "model": told}, {"support": told}, {told: 1}):
            http.post("/adapt", json=body)
        http.get("/tasks", params={"after": key.text})
        for path in ("/tasks", "/nowhere", "/v2/models"):
            http.get(f"{path}/{key.text}")
        http.post("/v2/models/none/infer", content=told.encode())
        http.post("/meta-train", json={"name": told})
    wrong = new_key()
    guarded.service.http.post("/predict", json=ASK, headers=bearer(wrong))
    log = guarded.service.log.read_text()
    assert '"event":"request"' in log
    assert f'"path":"/tasks/il_{key.key_id}_..."' in log
    for text in (key.text, key.text[-43:], wrong.text, hashed(key.text), told, "Bearer"):
        assert text not in log


FAILING = """
import asyncio, sys
from pathlib import Path
from app.store import Store
from app.telemetry import configure_logging
from tests.api.test_api_batched import served

def failing(*arguments, **options):
    raise RuntimeError("something is broken")

async def main(log_format, folder, key, told):
    configure_logging(log_format, "INFO")
    headers = {"Authorization": f"Bearer {key}"}
    body = {"task_id": "t", "support": {"inputs": [[0.5]], "targets": [told]}}
    async with served(Path(folder)) as (http, _):
        Store.latest_revisions = Store.task = failing
        print((await http.post("/adapt", json=body, headers=headers)).text)
        print((await http.get("/tasks/t", headers=headers)).text)

asyncio.run(main(*sys.argv[1:]))
"""


@pytest.mark.parametrize("log_format", ["text", "json"])
def test_an_unforeseen_error_tells_neither_the_key_nor_the_body(tmp_path: Path, log_format: str) -> None:
    key, told = make_key(tmp_path, "acme"), "a-class-that-nobody-else-names"
    arguments = [sys.executable, "-c", FAILING, log_format, str(tmp_path), key.text, told]
    done = subprocess.run(arguments, cwd=REPOSITORY, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count('"code":"internal-error"') == 2
    assert "something is broken" in done.stderr
    assert "something is broken" not in done.stdout
    for text in (key.text, key.text[-43:], told):
        assert text not in done.stderr + done.stdout


async def test_without_keys_the_store_is_asked_once_a_second_and_no_request_waits_for_more(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []
    real = Store.has_keys

    def has_keys(store: Store) -> bool:
        asked.append("has_keys")
        return real(store)

    async with served(tmp_path) as (http, context):
        monkeypatch.setattr(Store, "has_keys", has_keys)
        monkeypatch.setattr(Store, "identities", lambda *_: asked.append("identities"))
        began = time.monotonic()
        while time.monotonic() - began < 2.5 * LOOK_EVERY_SECONDS:
            assert (await http.post("/predict", json=ASK)).status_code == 200
            assert (await http.get("/limits")).status_code == 200
        assert 1 <= len(asked) <= 2  # fewer where requests take long
        assert set(asked) == {"has_keys"}
        assert context.identifying.counters.items == len(asked)


async def test_many_callers_share_one_query(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    keys = [make_key(tmp_path, f"tenant-{i}") for i in range(4)]
    batches: list[int] = []
    real = Store.identities

    def identities(store: Store, hashes: Any) -> Any:
        batches.append(len(hashes))
        return real(store, hashes)

    async with served(tmp_path) as (http, _):
        monkeypatch.setattr(Store, "identities", identities)
        wrong = new_key()
        asked = [http.post("/predict", json=ASK, headers=bearer(key)) for key in [*keys, wrong] * 8]
        answers = await asyncio.gather(*asked)
    assert [answer.status_code for answer in answers] == [200, 200, 200, 200, 401] * 8
    assert sum(batches) == 40
    assert len(batches) < 40


async def followed(http: httpx.AsyncClient, headers: dict[str, str]) -> "asyncio.Task[httpx.Response]":
    """Queue a job that nobody works on, and follow its events; return the task that ends with the stream."""
    queued = await http.post("/meta-train", json=REQUEST, headers=headers)
    assert queued.status_code == 202, queued.text
    return asyncio.create_task(http.get(f"{queued.headers['Location']}/events", headers=headers))


async def test_an_open_event_stream_ends_soon_after_its_key_is_revoked(tmp_path: Path) -> None:
    revoked, other = make_key(tmp_path, "acme", "train"), make_key(tmp_path, "acme", "train")
    async with served(tmp_path) as (http, context):
        ending, staying = await followed(http, bearer(revoked)), await followed(http, bearer(other))
        await asyncio.sleep(2 * ASK_AGAIN_SECONDS)
        assert not ending.done()
        assert not staying.done()
        revoke_key(tmp_path, revoked)
        answer = await asyncio.wait_for(ending, 10.0)
        assert '"queued"' in answer.text
        assert "event: end" not in answer.text
        problem_of(await http.get(answer.url.path, headers=bearer(revoked)), 401, "unauthorized")
        await asyncio.sleep(2 * ASK_AGAIN_SECONDS)
        assert not staying.done()
        context.draining = True
        assert '"queued"' in (await asyncio.wait_for(staying, 10.0)).text


async def test_an_event_stream_of_the_time_without_keys_ends_soon_after_the_first_is_made(tmp_path: Path) -> None:
    async with served(tmp_path) as (http, _):
        following = await followed(http, {})
        await asyncio.sleep(2 * ASK_AGAIN_SECONDS)
        assert not following.done()
        make_key(tmp_path, "acme")
        assert "event: end" not in (await asyncio.wait_for(following, 10.0)).text


def test_the_line_of_a_request_names_tenant_and_key_and_never_the_key(guarded: Guarded) -> None:
    key, using = make_key(guarded.folder, "team-x"), make_key(guarded.folder, "team-y", "use")
    own = {"X-Request-ID": "whose-is-it"}
    for named, path in ((key, "/tasks"), (key, "/predict"), (using, "/datasets")):  # the last is 403
        with client_of(guarded.service, named) as http:
            http.request("POST" if path == "/predict" else "GET", path, json=ASK, headers=own)
    guarded.service.http.get("/tasks", headers=own)  # 401
    guarded.service.http.get("/tasks", headers={**own, **bearer(new_key())})
    deadline = time.monotonic() + 10.0
    while len(lines := [line for line in guarded.service.logged("request") if line["request_id"] == "whose-is-it"]) < 5:
        assert time.monotonic() < deadline  # a line is written after its answer
        time.sleep(0.01)
    assert [line["status"] for line in lines] == [200, 200, 403, 401, 401]
    who = [(line.get("tenant"), line.get("key_id")) for line in lines]
    assert who == [("team-x", key.key_id)] * 2 + [("team-y", using.key_id)] + [(None, None)] * 2
    assert not any(key.text[-43:] in str(line) for line in lines)


def test_where_no_key_is_configured_the_line_of_a_request_names_nobody(service: Service) -> None:
    assert service.http.post("/predict", json=ASK).status_code == 200
    assert service.http.get("/tasks").status_code == 200
    lines = service.logged("request")
    assert lines
    assert not any({"tenant", "key_id"} & line.keys() for line in lines)


UNKNOWN = {"owner": "somebody", "status": "succeeded", "tenant": "default", "scopes": ["admin"], "revision_of": 1}
WHOLE: dict[str, Json] = {
    "/adapt": {"support": SUPPORT},
    "/predict": ASK,
    "/meta-train": {
        "name": "x",
        "learner": {"kind": "maml"},
        "network": {"kind": "mlp"},
        "tasks": {"kind": "sinusoid", "shots": 5, "queries": 5},
    },
    "/models/sinusoid/promote": {"version": 1},
    "/models/sinusoid/authority": {"authority": "weights"},
}


@pytest.mark.parametrize("field", UNKNOWN)
@pytest.mark.parametrize("path", WHOLE)
def test_a_field_that_is_not_known_is_refused(http: httpx.Client, path: str, field: str) -> None:
    told = problem_of(http.post(path, json={**WHOLE[path], field: UNKNOWN[field]}), 422, "invalid-request")
    assert told.errors[0].loc == [field]


@pytest.mark.parametrize("field", UNKNOWN)
def test_a_field_that_is_not_known_is_refused_in_a_data_set_and_in_a_batch(http: httpx.Client, field: str) -> None:
    spec = f'{{"name": "x", "kind": "grouped", "{field}": "default"}}'
    files: Any = {"file": ("rows.csv", b"a,b\n1,2\n"), "spec": (None, spec.encode(), "application/json")}
    problem_of(http.post("/datasets", files=files), 422, "invalid-request")
    (answer,) = http.post("/adapt/batch", json=[{"support": SUPPORT, field: UNKNOWN[field]}]).json()
    assert (answer["status"], answer["code"]) == (422, "invalid-request")
