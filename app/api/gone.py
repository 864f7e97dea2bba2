"""Callers who hang up while they wait: what nobody else will see is then not computed."""

import asyncio
from collections.abc import Awaitable
from typing import TypeVar

from fastapi import Request
from starlette.requests import ClientDisconnect

Result = TypeVar("Result")

GONE = "innerloop.gone"
"""Where the state of a request keeps what is to be called, from its event loop, when its connection is lost."""


async def unless_gone(request: Request, work: Awaitable[Result]) -> Result:
    """Return what `work` gives; it is cancelled, and ClientDisconnect raised, when the caller hangs up."""
    task = asyncio.current_task()
    assert task is not None  # nothing is awaited outside of one
    is_gone = False

    def give_up() -> None:
        nonlocal is_gone
        is_gone = True
        task.cancel()

    state = request.scope["state"]  # the framework may have made the scope anew, and what is in it is the same
    state[GONE] = give_up
    try:
        return await work
    except asyncio.CancelledError:
        if not is_gone:
            raise
        task.uncancel()
        raise ClientDisconnect from None
    finally:
        del state[GONE]
