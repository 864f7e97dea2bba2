"""Batches of many callers, seen from outside, with the engine's own counters beside: late, gone and wrong ones."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from app.api.context import Context
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
        if context.queue_depth >= depth:
            return
        await asyncio.sleep(0.005)
    raise AssertionError(f"only {context.queue_depth} are in line")


async def has_turn(context: Context) -> None:
    """Wait until a call has its task's turn."""
    for _ in range(4000):
        if context.turns.held():
            return
        await asyncio.sleep(0.001)
    raise AssertionError("no call has a turn")


def copied(context: Context) -> tuple[int, int, int]:
    """Return how much was computed, and how many were too late or went away before."""
    device, reading = context.engine.counters, context.reading.counters
    return device.items, device.late + reading.late, device.gone + reading.gone


async def adapted(http: httpx.AsyncClient, support: Json, **fields: Any) -> httpx.Response:
    headers = fields.pop("headers", {})
    return await http.post("/adapt", json={"support": support, **fields}, headers=headers)


async def test_a_deadline_that_passes_behind_a_slow_batch_is_504_and_nothing_is_computed(tmp_path: Path) -> None:
    async with served(tmp_path) as (http, context):
        async with device_busy(context):
            items, late, gone = copied(context)
            answer = await adapted(http, sine(5), task_id="late", headers={"X-Request-Timeout-Ms": "50"})
            problem_of(answer, 504, "deadline-exceeded")
            assert copied(context) == (items, late + 1, gone)
        assert context.queue_depth == 0
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
                items, late, gone = copied(context)
                for task in asked[::2]:
                    task.cancel()
                await asyncio.gather(*asked[::2], return_exceptions=True)
            answers = await asyncio.gather(*asked[1::2])
            assert [answer.status_code for answer in answers] == [201] * 12
            assert copied(context) == (
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


def infer_body(rows: list[list[float]] = QUERY, **fields: Any) -> Json:
    return {"inputs": [{"name": "inputs", "shape": [len(rows), 1], "datatype": "FP32", "data": rows}], **fields}


async def test_the_deadline_of_infer_is_that_of_the_device_too(tmp_path: Path) -> None:
    async with served(tmp_path) as (http, context):
        assert (await adapted(http, sine(5), task_id="slow")).status_code == 201
        async with device_busy(context):
            items, late, gone = copied(context)
            headers = {"X-Request-Timeout-Ms": "50"}
            answer = await http.post("/v2/models/slow/infer", json=infer_body(), headers=headers)
            problem_of(answer, 504, "deadline-exceeded")
            assert copied(context) == (items, late + 1, gone)


async def test_a_deleted_task_is_gone_from_the_cache(tmp_path: Path) -> None:
    async with served(tmp_path) as (http, context):
        for name in ("deleted", "kept"):
            assert (await adapted(http, sine(5), task_id=name)).status_code == 201
        assert [key.task_id for key in context.engine.cached_tasks()] == ["deleted", "kept"]
        assert (await http.delete("/tasks/deleted")).status_code == 204
        assert [key.task_id for key in context.engine.cached_tasks()] == ["kept"]


async def test_a_delete_waits_for_what_is_adapted_and_leaves_nothing_of_it(tmp_path: Path) -> None:
    async with served(tmp_path) as (http, context):
        assert (await adapted(http, sine(4), task_id="both")).status_code == 201
        async with device_busy(context):
            adapting = asyncio.create_task(adapted(http, sine(5), task_id="both"))
            await in_line(context, 2)
        await has_turn(context)
        deleted = await http.delete("/tasks/both")
        assert ((await adapting).status_code, deleted.status_code) == (201, 204)
        assert context.engine.cached_tasks() == []
        assert (await http.get("/tasks/both")).status_code == 404


async def test_load_and_unload_bring_a_task_into_the_cache_and_drop_it(tmp_path: Path) -> None:
    async with served(tmp_path) as (http, context):
        assert (await adapted(http, sine(5), task_id="moved")).status_code == 201
        assert (await http.post("/v2/repository/models/moved/unload")).status_code == 200
        assert context.engine.cached_tasks() == []
        assert (await http.post("/v2/repository/models/moved/load")).status_code == 200
        assert [key.task_id for key in context.engine.cached_tasks()] == ["moved"]


async def test_what_an_earlier_call_is_about_to_leave_is_what_the_next_one_finds(tmp_path: Path) -> None:
    async with served(tmp_path) as (http, context):
        async with device_busy(context):
            first = asyncio.create_task(adapted(http, sine(4), task_id="one"))
            await in_line(context, 2)
            appended = asyncio.create_task(adapted(http, sine(3, phase=1.0), task_id="one", append=True))
            await in_line(context, 3)
            expecting = asyncio.create_task(adapted(http, sine(5), task_id="one", if_revision=2))
            await in_line(context, 4)
        answers = [await first, await appended, await expecting]
        assert [answer.status_code for answer in answers] == [201, 201, 201], [answer.text for answer in answers]
        assert [answer.json()["revision"] for answer in answers] == [1, 2, 3]
        assert answers[1].json()["support_size"] == 7


async def test_a_prediction_from_rows_keeps_its_deadline_and_tells_what_adapting_took(tmp_path: Path) -> None:
    async with served(tmp_path) as (http, context):
        assert (await http.post("/models/sinusoid/authority", json={"authority": "rows"})).status_code == 200
        assert (await adapted(http, sine(5), task_id="rows", steps=100, estimate=False)).status_code == 201
        expected = (await http.post("/predict", json={"task_id": "rows", "inputs": QUERY})).json()
        context.engine.forget_task("default", "rows")
        async with device_busy(context):
            items, late, gone = copied(context)
            headers = {"X-Request-Timeout-Ms": "50"}
            answer = await http.post("/predict", json={"task_id": "rows", "inputs": QUERY}, headers=headers)
            problem_of(answer, 504, "deadline-exceeded")
            assert copied(context) == (items, late + 1, gone)
        assert context.engine.cached_tasks() == []
        again = (await http.post("/predict", json={"task_id": "rows", "inputs": QUERY})).json()
        assert close(again["outputs"], expected["outputs"])
        assert again["timing_ms"]["compute"] > 2 * expected["timing_ms"]["compute"]
        assert [key.task_id for key in context.engine.cached_tasks()] == ["rows"]
