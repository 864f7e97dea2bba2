"""Claims about large bodies in a stage: few are read at once, and none stands in another's way for long."""

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Sequence
from typing import Any

import pytest

from app.api.stages import MOST_LARGE, MOST_SLOW, Stage, TooSlow, as_it_is
from app.engine.load import Load
from innerloop.errors import DeadlineExceeded, InvalidRequest


class Reading:
    """Reads items, and counts how many at once; "slow" ones take long, "wrong" ones are refused."""

    def __init__(self) -> None:
        self._guard = threading.Lock()
        self._now: dict[bool, int] = {True: 0, False: 0}
        self.most = {True: 0, False: 0}
        self.num = 0

    def __call__(self, items: Sequence[Any], quick: bool) -> list[Any]:
        with self._guard:
            self.num += 1
            self._now[quick] += 1
            self.most[quick] = max(self.most[quick], self._now[quick])
        time.sleep(0.02 if quick else 0.2)
        with self._guard:
            self._now[quick] -= 1
        return [self._read(item, quick) for item in items]

    def _read(self, item: str, quick: bool) -> Any:
        if item == "slow" and quick:
            return TooSlow()
        if item == "wrong":
            document = Document()
            try:
                return document.rows()
            except InvalidRequest as error:
                return error
        return item


class Document:
    """What was parsed; counts those that are held."""

    num_held = 0

    def __init__(self) -> None:
        Document.num_held += 1

    def __del__(self) -> None:
        Document.num_held -= 1

    def rows(self) -> Any:
        raise InvalidRequest("not what was expected")


@pytest.fixture
async def stage() -> AsyncIterator[Stage]:
    made = Stage("reading", 100)
    yield made
    await asyncio.to_thread(made.close)


async def test_few_large_bodies_are_read_at_once(stage: Stage) -> None:
    reading = Reading()
    found = await asyncio.gather(*(stage.run(reading, i, as_it_is, is_large=True) for i in range(12)))
    assert found == [*range(12)]
    assert reading.most[True] == MOST_LARGE


async def test_large_bodies_that_take_long_leave_their_place_to_others(stage: Stage) -> None:
    reading = Reading()
    slow = [asyncio.create_task(stage.run(reading, "slow", as_it_is, is_large=True)) for _ in range(20)]
    await asyncio.sleep(0)
    assert await stage.run(reading, "quick", as_it_is, is_large=True) == "quick"
    assert not all(task.done() for task in slow)
    assert await asyncio.gather(*slow) == ["slow"] * 20
    assert reading.most == {True: MOST_LARGE, False: MOST_SLOW}


async def test_a_large_body_whose_turn_comes_too_late_is_not_read(stage: Stage) -> None:
    reading = Reading()
    others = [asyncio.create_task(stage.run(reading, i, as_it_is, is_large=True)) for i in range(8)]
    await asyncio.sleep(0)
    with pytest.raises(DeadlineExceeded):
        await stage.run(reading, "late", as_it_is, time.monotonic() + 0.001, is_large=True)
    await asyncio.gather(*others)
    assert reading.num == 8


async def test_an_error_does_not_hold_what_was_parsed(stage: Stage) -> None:
    error = await _error_of(stage.run(Reading(), "wrong", as_it_is, is_large=True))
    assert isinstance(error, InvalidRequest)
    assert Document.num_held == 0


async def _error_of(asked: Awaitable[Any]) -> Exception | None:
    try:
        await asked
    except InvalidRequest as error:
        return error
    return None


async def test_what_takes_long_beside_the_stage_is_work_too_and_few_do_it_at_once(stage: Stage) -> None:
    reading, load = Reading(), Load()

    async def ask() -> None:
        with load.work("tenant", "pictures"):
            assert await stage.run(reading, "slow", as_it_is) == "slow"

    await asyncio.gather(*(ask() for _ in range(20)))
    assert reading.most[False] == MOST_SLOW
    with load.work("tenant", "pictures") as expected:
        assert expected.left >= 0.2
