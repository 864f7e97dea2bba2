"""Turns: one caller at a key, the next in the order of asking, whatever becomes of those before."""

import asyncio
import time

import pytest

from app.api.turns import Turns
from innerloop.errors import DeadlineExceeded


async def hold(turns: Turns, order: list[int], number: int, deadline: float | None = None) -> None:
    with turns.caller() as turn:
        await turn.wait("key", deadline)
        order.append(number)
        await asyncio.sleep(0.001)


async def test_callers_take_turns_in_the_order_of_asking() -> None:
    order: list[int] = []
    turns = Turns()
    await asyncio.gather(*(hold(turns, order, number) for number in range(10)))
    assert order == [*range(10)]
    assert not turns.held()


async def test_a_key_is_taken_at_once_from_any_thread_and_by_one_alone() -> None:
    turns = Turns()
    with turns.caller() as first, turns.caller() as second:
        assert await asyncio.to_thread(first.take, "key")
        assert first.take("key")
        assert not await asyncio.to_thread(second.take, "key")
        assert second.take("other")
        assert not second.take("third")
    assert not turns.held()


async def test_a_caller_that_is_gone_takes_nothing() -> None:
    turns = Turns()
    with turns.caller() as turn:
        pass
    assert not turn.take("key")
    assert not turns.held()


async def test_waiting_ends_at_the_deadline_and_those_behind_are_not_held_up() -> None:
    order: list[int] = []
    turns = Turns()
    with turns.caller() as holder:
        assert holder.take("key")
        late = asyncio.create_task(hold(turns, order, 1, time.monotonic() + 0.02))
        patient = asyncio.create_task(hold(turns, order, 2))
        with pytest.raises(DeadlineExceeded):
            await late
        assert not patient.done()
    await asyncio.wait_for(patient, 5)
    assert order == [2]
    assert not turns.held()


@pytest.mark.parametrize("woken_first", [True, False])
async def test_a_caller_that_is_cancelled_while_it_waits_passes_its_turn_on(woken_first: bool) -> None:
    order: list[int] = []
    turns = Turns()
    with turns.caller() as holder:
        assert holder.take("key")
        cancelled = asyncio.create_task(hold(turns, order, 1))
        patient = asyncio.create_task(hold(turns, order, 2))
        await asyncio.sleep(0.01)
        if not woken_first:
            cancelled.cancel()
    if woken_first:  # its turn has come, and it has not run since
        cancelled.cancel()
    await asyncio.gather(cancelled, return_exceptions=True)
    await asyncio.wait_for(patient, 5)
    assert order == [2]
    assert not turns.held()
