"""`GET /readyz`: ready is said only where the next request would be answered, and what stands against it."""

import asyncio
import sqlite3
import threading
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest

from app.main import create_app, make_context
from app.settings import REPOSITORY, Settings
from innerloop.wire import Readiness
from tests.api.asking import problem_of
from tests.api.test_api_batched import served


async def reasons(http: httpx.AsyncClient) -> list[str]:
    """Return what stands against being ready, and hold both paths that tell of it against each other."""
    answer = await http.get("/readyz")
    other = await http.get("/v2/health/ready")
    assert other.status_code == answer.status_code
    if answer.status_code == 200:
        assert Readiness.model_validate_json(answer.content) == Readiness(ready=True, reasons=[])
        return []
    problem_of(answer, 503, "not-ready")
    assert int(answer.headers["Retry-After"]) >= 1
    assert (await http.get("/healthz")).status_code == 200  # alive all the same
    return Readiness.model_validate_json(answer.content).reasons


async def test_without_a_store_that_takes_writes_it_is_not_ready_and_by_itself_is_again(tmp_path: Path) -> None:
    async with served(tmp_path, store_wait_ms=100) as (http, _):
        assert await reasons(http) == []
        with sqlite3.connect(tmp_path / "innerloop.db", isolation_level=None) as another:
            another.execute("BEGIN IMMEDIATE")
            (reason,) = await reasons(http)
            another.execute("ROLLBACK")
        another.close()
        assert "locked" in reason
        assert await reasons(http) == []


async def test_without_its_default_model_it_is_not_ready(tmp_path: Path) -> None:
    async with served(tmp_path, default_model="nowhere") as (http, _):
        (reason,) = await reasons(http)
        assert "nowhere" in reason


async def test_a_service_that_drains_is_not_ready(tmp_path: Path) -> None:
    async with served(tmp_path) as (http, context):
        context.draining = True
        assert await reasons(http) == ["the service is draining"]


async def test_a_worker_of_jobs_that_died_makes_it_not_ready(tmp_path: Path) -> None:
    context = make_context(Settings(data_dir=tmp_path, models_dir=REPOSITORY / "models"))
    assert context.worker is not None
    app = create_app(context)
    transport = httpx.ASGITransport(app)
    async with app.router.lifespan_context(app), httpx.AsyncClient(transport=transport, base_url="http://test") as http:
        assert await reasons(http) == []
        context.worker.close()
        assert await reasons(http) == ["the worker of meta-training jobs has ended"]
        context.draining = True  # then it is meant to have ended
        assert await reasons(http) == ["the service is draining"]


@pytest.mark.parametrize("stage", ["identifying", "reading", "writing"])
async def test_without_one_of_its_threads_it_is_not_ready(
    stage: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with served(tmp_path) as (http, context):
        assert await reasons(http) == []
        worker = getattr(context, stage)._batcher.worker
        with monkeypatch.context() as patched:
            patched.setattr(worker, "_thread", threading.Thread())  # one that does not run
            (reason,) = await reasons(http)
        assert "thread" in reason
        assert await reasons(http) == []


async def test_those_who_ask_together_share_a_look_that_begins_after_they_asked(tmp_path: Path) -> None:
    async with served(tmp_path) as (http, context):
        assert await reasons(http) == []
        commits, looks = context.store.num_commits, context.looking.counters.batches
        with sqlite3.connect(tmp_path / "innerloop.db", isolation_level=None) as another:
            another.execute("BEGIN IMMEDIATE")
            first = asyncio.create_task(http.get("/readyz"))
            await _until(lambda: context.looking.depth == 1)
            await asyncio.sleep(0.1)  # by then the first look waits for the lock
            others = [asyncio.create_task(http.get("/readyz")) for _ in range(50)]
            await _until(lambda: context.looking.depth == 51)
            another.execute("ROLLBACK")
        another.close()
        assert [answer.status_code for answer in await asyncio.gather(first, *others)] == [200] * 51
        assert context.looking.counters.batches == looks + 2
        assert context.store.num_commits == commits + 2


async def _until(condition: Callable[[], bool]) -> None:
    for _ in range(2000):
        if condition():
            return
        await asyncio.sleep(0.01)
    raise AssertionError
