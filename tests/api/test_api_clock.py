"""The wall clock jumps by an hour, as after a sleep or a wrong time server: nothing is lost, doubled or stuck."""

import asyncio
from datetime import datetime, timedelta, tzinfo
from pathlib import Path

import httpx
import pytest

from app.api import context as api_context
from app.main import _purge
from tests.api.asking import close, problem_of, sine
from tests.api.test_api_batched import adapted, device_busy, in_line, served

HOUR = timedelta(hours=1)
QUERY = [[-3.0], [0.5], [2.5]]


class Clock(datetime):
    """The wall clock, moved by `ahead`."""

    ahead = timedelta()

    @classmethod
    def now(cls, tz: tzinfo | None = None) -> datetime:  # type: ignore[override]
        """Return the moment that it shows."""
        return datetime.now(tz) + cls.ahead


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> type[Clock]:
    monkeypatch.setattr(Clock, "ahead", timedelta())
    monkeypatch.setattr(api_context, "datetime", Clock)
    return Clock


async def predicted(http: httpx.AsyncClient, task_id: str, revision: int | None = None) -> list[list[float]]:
    answer = await http.post("/predict", json={"task_id": task_id, "revision": revision, "inputs": QUERY})
    assert answer.status_code == 200, answer.text
    found: list[list[float]] = answer.json()["outputs"]
    return found


@pytest.mark.parametrize("jump", [-HOUR, HOUR], ids=["back", "forward"])
async def test_tasks_revisions_and_keys_outlive_a_jump(tmp_path: Path, clock: type[Clock], jump: timedelta) -> None:
    key = {"Idempotency-Key": "before"}
    async with served(tmp_path) as (http, context):
        first = await adapted(http, sine(5), task_id="kept", headers=key)
        second = await adapted(http, sine(3), task_id="kept", append=True)
        assert (first.status_code, second.status_code) == (201, 201)
        before = [await predicted(http, "kept", revision) for revision in (1, 2)]
        assert (await http.delete("/tasks/kept-not")).status_code == 404
        assert (await adapted(http, sine(5), task_id="deleted")).status_code == 201
        assert (await http.delete("/tasks/deleted")).status_code == 204

        clock.ahead = jump
        _purge(context)
        assert (await http.get("/readyz")).status_code == 200
        assert [await predicted(http, "kept", revision) for revision in (1, 2)] == before
        assert (await adapted(http, sine(5), task_id="kept", headers=key)).json() == first.json()
        assert (await http.get("/tasks/kept")).json()["revision"] == 2
        assert (await http.get("/tasks/deleted")).status_code == 404
        third = await adapted(http, sine(2), task_id="kept", append=True)
        assert (third.json()["revision"], third.json()["support_size"]) == (3, 10)
        listed = (await http.get("/tasks/kept/revisions")).json()["data"]
        assert [revision["revision"] for revision in listed] == [3, 2, 1]
        assert (await adapted(http, sine(5), task_id="deleted")).json()["revision"] == 2

        clock.ahead = timedelta()
        _purge(context)
        assert (await http.get("/tasks/kept")).json()["revision"] == 3
        assert close((await predicted(http, "kept", 1)), before[0])


async def test_a_jump_forward_expires_what_has_a_time_to_live_and_nothing_else(
    tmp_path: Path, clock: type[Clock]
) -> None:
    async with served(tmp_path) as (http, context):
        for task_id, ttl in {"half an hour": 1800, "two hours": 7200, "for ever": None}.items():
            name = task_id.replace(" ", "-")
            assert (await adapted(http, sine(5), task_id=name, ttl_seconds=ttl)).status_code == 201
        clock.ahead = HOUR
        problem_of(await http.get("/tasks/half-an-hour"), 404, "task-not-found")
        _purge(context)
        clock.ahead = timedelta()  # what was deleted is not back when the hour was a mistake
        problem_of(await http.get("/tasks/half-an-hour"), 404, "task-not-found")
        for name in ("two-hours", "for-ever"):
            await predicted(http, name)


async def test_a_jump_back_gives_no_more_time_than_was_asked_for_plus_the_jump(
    tmp_path: Path, clock: type[Clock]
) -> None:
    async with served(tmp_path) as (http, context):
        assert (await adapted(http, sine(5), task_id="short", ttl_seconds=1800)).status_code == 201
        clock.ahead = -HOUR
        _purge(context)
        await predicted(http, "short")
        clock.ahead = timedelta(seconds=1801)
        problem_of(await http.get("/tasks/short"), 404, "task-not-found")


@pytest.mark.parametrize("jump", [-HOUR, HOUR], ids=["back", "forward"])
async def test_a_deadline_does_not_depend_on_the_wall_clock(
    tmp_path: Path, clock: type[Clock], jump: timedelta
) -> None:
    async with served(tmp_path) as (http, context):
        async with device_busy(context):
            patient = asyncio.create_task(
                adapted(http, sine(5), task_id="patient", headers={"X-Request-Timeout-Ms": "60000"})
            )
            await in_line(context, 2)
            clock.ahead = jump
            hasty = await adapted(http, sine(5), task_id="hasty", headers={"X-Request-Timeout-Ms": "50"})
            problem_of(hasty, 504, "deadline-exceeded")
        assert (await patient).status_code == 201
