"""More than can be done: what is too much is refused at once and told when to come again; others' shares are theirs."""

import asyncio
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.api.asking import problem_of, sine
from tests.api.service import Service, start_service
from tests.api.tenants import bearer, make_key
from tests.api.test_api_batched import served

HEAVY: dict[str, Any] = {"model": "sinusoid", "support": sine(60), "steps": 60}
NUM_FLOODING = 90


@pytest.fixture(scope="module")
def narrow(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """A service that lets little work wait."""
    service = start_service(tmp_path_factory.mktemp("narrow"), max_wait_seconds=0.02, rush_wait_seconds=0.01)
    _prime(service.http)
    yield service
    service.stop()


def _prime(client: httpx.Client) -> None:
    """Let the service learn what such a request costs."""
    for i in range(3):
        assert client.post("/adapt", json={**HEAVY, "task_id": f"prime-{i}"}).status_code == 201


async def _at_once(client: httpx.AsyncClient, num: int, name: str) -> list[httpx.Response]:
    return await asyncio.gather(
        *(client.post("/adapt", json={**HEAVY, "task_id": f"{name}-{i}"}) for i in range(num)),
    )


def _client(service: Service, headers: dict[str, str] | None = None) -> httpx.AsyncClient:
    limits = httpx.Limits(max_connections=NUM_FLOODING)
    return httpx.AsyncClient(base_url=service.url, timeout=60, limits=limits, headers=headers)


async def test_what_is_too_much_is_refused_and_what_was_let_in_is_answered(narrow: Service) -> None:
    async with _client(narrow) as client:
        answers = await _at_once(client, NUM_FLOODING, "flood")
        statuses = Counter(answer.status_code for answer in answers)
        assert set(statuses) == {201, 503}
        assert statuses[201] >= 32  # so few are let in however much they ask for
        refused = next(answer for answer in answers if answer.status_code == 503)
        assert "of work wait" in problem_of(refused, 503, "overloaded").detail
        assert int(refused.headers["Retry-After"]) >= 1
        tasks = {f"flood-{i}": answer.status_code for i, answer in enumerate(answers)}
        for task_id, status in tasks.items():
            found = await client.get(f"/tasks/{task_id}")
            assert found.status_code == (200 if status == 201 else 404)
        assert (await client.post("/adapt", json=HEAVY)).status_code == 201


def test_a_batch_is_let_in_as_a_whole(narrow: Service) -> None:
    calls = [{**HEAVY, "task_id": f"batch-{i}"} for i in range(60)]
    for _ in range(2):  # the second one is known to be long
        answer = narrow.http.post("/adapt/batch", json=calls)
        assert answer.status_code == 200
        assert {call["revision"] > 0 for call in answer.json()} == {True}


async def test_a_flood_is_refused_its_own_calls_and_not_those_of_others(tmp_path: Path) -> None:
    keys = {name: make_key(tmp_path, name) for name in ("flood", "calm")}
    service = start_service(tmp_path, max_wait_seconds=0.02, rush_wait_seconds=0.01)
    with httpx.Client(base_url=service.url, headers=bearer(keys["flood"]), timeout=60) as client:
        _prime(client)
    async with _client(service, bearer(keys["flood"])) as flood, _client(service, bearer(keys["calm"])) as calm:
        flooding, over = asyncio.Event(), asyncio.Event()

        async def keep_flooding(number: int) -> Counter[int]:
            statuses: Counter[int] = Counter()
            while not over.is_set():
                task_id = f"flood-{number}-{statuses.total()}"
                statuses[(await flood.post("/adapt", json={**HEAVY, "task_id": task_id})).status_code] += 1
                if statuses[503] or statuses[429]:
                    flooding.set()
                    await asyncio.sleep(0.02)
            return statuses

        tasks = [asyncio.create_task(keep_flooding(number)) for number in range(60)]
        await asyncio.wait_for(flooding.wait(), 60)
        answers = [await calm.post("/adapt", json={**HEAVY, "task_id": f"calm-{i}"}) for i in range(6)]
        over.set()
        flooded = sum(await asyncio.gather(*tasks), Counter[int]())
    service.stop()
    assert [answer.status_code for answer in answers] == [201] * 6
    assert set(flooded) <= {201, 429, 503}
    assert flooded[429]  # while the other one had something in there, it was its share that was used up


async def test_batches_leave_room_in_the_lines_for_others(tmp_path: Path) -> None:
    async with served(tmp_path, max_queue_depth=100) as (http, context):
        await http.post("/adapt", json={"task_id": "t", "support": sine(5), "estimate": False})
        one = {"task_id": "t", "inputs": [[0.5]]}
        batches = [asyncio.create_task(http.post("/predict/batch", json=[one] * 256)) for _ in range(12)]
        depths, others = [0], []
        while not all(batch.done() for batch in batches):
            depths.append(context.queue_depth)
            others.append((await http.post("/predict", json=one)).status_code)
            others.append((await http.get("/readyz")).status_code)
        answers = [answer for batch in batches for answer in batch.result().json()]
        assert len(answers) == 12 * 256
        assert not [answer for answer in answers if "outputs" not in answer]
        assert set(others) == {200}
        assert 1 < max(depths) <= 27  # a quarter, and the one that asks besides


async def test_rows_that_are_taken_out_are_work_like_any_other(tmp_path: Path) -> None:
    async with served(tmp_path, max_wait_seconds=0.02, rush_wait_seconds=0.01) as (http, context):
        for i in range(60):
            await http.post("/adapt", json={"task_id": f"t{i}", "support": sine(20), "estimate": False})
        for _ in range(3):
            assert (await http.delete("/tasks/t0/support/0")).status_code == 200
        answers = await asyncio.gather(*(http.delete(f"/tasks/t{i}/support/0") for i in range(60)))
        statuses = Counter(answer.status_code for answer in answers)
        assert set(statuses) == {200, 503}
        assert statuses[200] >= 32
        for i, answer in enumerate(answers):
            left = (await http.get(f"/tasks/t{i}")).json()["support_size"]
            assert left == (17 if i == 0 else 20) - (answer.status_code == 200)
        assert context.load.backlog_seconds == 0
