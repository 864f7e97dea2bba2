"""What is done for a caller ends with the connection, and with nothing else."""

import asyncio

import pytest
from fastapi import Request
from starlette.requests import ClientDisconnect

from app.api.gone import GONE, unless_gone


def request() -> Request:
    return Request({"type": "http", "state": {}})


async def test_work_is_cancelled_when_its_caller_is_gone() -> None:
    asked, ended = request(), asyncio.Event()

    async def work() -> None:
        try:
            await asyncio.sleep(60)
        finally:
            ended.set()

    waiting = asyncio.create_task(unless_gone(asked, work()))
    await asyncio.sleep(0)
    asked.scope["state"][GONE]()
    with pytest.raises(ClientDisconnect):
        await waiting
    assert ended.is_set()
    assert asked.scope["state"] == {}


async def test_a_cancellation_that_is_not_the_callers_stays_one() -> None:
    waiting = asyncio.create_task(unless_gone(request(), asyncio.sleep(60)))
    await asyncio.sleep(0)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting


async def test_results_and_errors_come_through_and_nothing_is_left() -> None:
    asked = request()
    assert await unless_gone(asked, asyncio.sleep(0, "done")) == "done"

    async def fail() -> None:
        raise ArithmeticError

    with pytest.raises(ArithmeticError):
        await unless_gone(asked, fail())
    assert asked.scope["state"] == {}
