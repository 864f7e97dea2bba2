"""Batches of many callers, seen from outside, with the engine's own counters beside: late, gone and wrong ones."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from app.api.context import Context
from app.engine.batcher import Counters
from app.main import create_app, make_context
from app.settings import REPOSITORY, Settings
from tests.api.asking import Json, close, problem_of, sine

QUERY = [[-3.0], [0.5], [2.5]]


@asynccontextmanager
async def served(folder: Path, **settings: Any) -> AsyncIterator[tuple[httpx.AsyncClient, Context]]:
    """Run the service in this process and loop."""
    context = make_context(Settings(data_dir=folder, models_dir=REPOSITORY / "models", job_worker=False, **settings))
    app = create_app(context)
    async with app.router.lifespan_context(app):
        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(transport=transport, base_url="http://test", timeout=60.0) as http:
            yield http, context


@asynccontextmanager
async def device_busy(context: Context) -> AsyncIterator[None]:
    """Keep the device from beginning anything until the block ends."""
    released = asyncio.Event()
    loop = asyncio.get_running_loop()
    begun = asyncio.Event()

    def block() -> None:
        loop.call_soon_threadsafe(begun.set)
        asyncio.run_coroutine_threadsafe(released.wait(), loop).result(30)

    blocking = asyncio.create_task(context.engine._alone(block, None))
    await begun.wait()
    try:
        yield
    finally:
        released.set()
        await blocking


async def in_line(context: Context, depth: int) -> None:
    """Wait until so many pieces of work wait for the device or run on it."""
    for _ in range(4000):
        if context.engine.queue_depth >= depth:
            return
        await asyncio.sleep(0.005)
    raise AssertionError(f"only {context.engine.queue_depth} are in line")


def copied(counters: Counters) -> tuple[int, int, int]:
    return counters.items, counters.late, counters.gone


async def adapted(http: httpx.AsyncClient, support: Json, **fields: Any) -> httpx.Response:
    headers = fields.pop("headers", {})
    return await http.post("/adapt", json={"support": support, **fields}, headers=headers)


async def test_a_deadline_that_passes_behind_a_slow_batch_is_504_and_nothing_is_computed(tmp_path: Path) -> None:
    async with served(tmp_path) as (http, context):
        async with device_busy(context):
            items, late, gone = copied(context.engine.counters)
            answer = await adapted(http, sine(5), task_id="late", headers={"X-Request-Timeout-Ms": "50"})
            problem_of(answer, 504, "deadline-exceeded")
            assert copied(context.engine.counters) == (items, late + 1, gone)
        assert context.engine.queue_depth == 0
        assert (await http.get("/tasks/late")).status_code == 404


async def test_callers_that_hang_up_leave_their_neighbours_their_answers(tmp_path: Path) -> None:
    async with served(tmp_path) as (http, context):
        for turn in range(4):
            async with device_busy(context):
                asked = [
                    asyncio.create_task(adapted(http, sine(3 + i % 3, phase=i / 7), task_id=f"t{turn}-{i}"))
                    for i in range(24)
                ]
                await in_line(context, 25)
                items, late, gone = copied(context.engine.counters)
                for task in asked[::2]:
                    task.cancel()
                await asyncio.gather(*asked[::2], return_exceptions=True)
            answers = await asyncio.gather(*asked[1::2])
            assert [answer.status_code for answer in answers] == [201] * 12
            assert copied(context.engine.counters) == (
                items + 1 + 12,
                late,
                gone + 12,
            )  # with the one that kept it busy
        for i in range(1, 24, 2):
            found = (await http.post("/predict", json={"task_id": f"t3-{i}", "inputs": QUERY})).json()["outputs"]
            support = sine(3 + i % 3, phase=i / 7)
            alone = (await http.post("/predict", json={"support": support, "inputs": QUERY})).json()["outputs"]
            assert close(found, alone)


@pytest.mark.parametrize("estimate", [True, False])
async def test_requests_that_are_wrong_in_every_way_harm_nobody_in_their_batch(tmp_path: Path, estimate: bool) -> None:
    wrong: list[tuple[Json, int, str]] = [
        ({"support": sine(4), "learning_rate": 10.0, "steps": 100}, 422, "diverged"),
        ({"support": {"inputs": [[1.0], [2.0, 3.0]], "targets": [1.0, 2.0]}}, 422, "shape-mismatch"),
        ({"support": {"inputs": [[1e39]], "targets": [1.0]}}, 422, "not-finite"),
        ({"support": sine(4), "model": "none-such"}, 404, "model-not-found"),
        ({"support": sine(4), "if_revision": 7}, 409, "revision-conflict"),
    ]
    async with served(tmp_path) as (http, context):
        async with device_busy(context):
            fine = [
                asyncio.create_task(adapted(http, sine(3 + i, phase=i / 3), task_id=f"fine-{i}", estimate=estimate))
                for i in range(8)
            ]
            refused = [
                asyncio.create_task(http.post("/adapt", json={**body, "estimate": estimate})) for body, *_ in wrong
            ]
            await asyncio.sleep(0.1)
        for (_, status, code), answer in zip(wrong, await asyncio.gather(*refused), strict=True):
            problem_of(answer, status, code)
        for i, answer in enumerate(await asyncio.gather(*fine)):
            assert answer.status_code == 201, answer.text
            alone = await adapted(http, sine(3 + i, phase=i / 3), estimate=estimate)
            assert close(answer.json()["support_loss"], alone.json()["support_loss"])


async def test_timing_tells_of_waiting_and_of_work(tmp_path: Path) -> None:
    async with served(tmp_path) as (http, context):
        async with device_busy(context):
            asked = asyncio.create_task(adapted(http, sine(5)))
            await asyncio.sleep(0.3)
        timing = (await asked).json()["timing_ms"]
        assert timing["queue"] >= 150.0
        assert timing["compute"] > 0.0
        assert timing["total"] >= timing["queue"] + timing["compute"]


async def test_predictions_for_many_tasks_leave_together_in_few_batches(tmp_path: Path) -> None:
    async with served(tmp_path) as (http, context):
        supports = [sine(4, phase=i / 9) for i in range(32)]
        await asyncio.gather(*(adapted(http, support, task_id=f"p{i}") for i, support in enumerate(supports)))
        bodies = [{"task_id": f"p{i}", "inputs": QUERY[: 1 + i % 3]} for i in range(32)]
        for _ in range(6):  # how many go together is learned
            async with device_busy(context):
                before = context.engine.counters.batches
                asked = [asyncio.create_task(http.post("/predict", json=body)) for body in bodies]
                await in_line(context, 33)
            answers = await asyncio.gather(*asked)
        assert context.engine.counters.batches - before <= 13
        for support, body, answer in zip(supports, bodies, answers, strict=True):
            alone = await http.post("/predict", json={"support": support, "inputs": body["inputs"]})
            assert close(answer.json()["outputs"], alone.json()["outputs"])
