"""Both clients under one signature, so that a claim is checked of both."""

from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any, Protocol

import httpx

from innerloop import AsyncClient, Client

Handler = Callable[[httpx.Request], httpx.Response]


class Shell(Protocol):
    """Use a client whose requests go to a handler, and return what it gave: lists for iterators."""

    async def __call__(self, handler: Handler, use: Callable[[Any], Any], **options: Any) -> Any: ...


async def blocking(handler: Handler, use: Callable[[Any], Any], **options: Any) -> Any:
    with Client("http://here", transport=httpx.MockTransport(handler), **options) as client:
        result = use(client)
        return list(result) if isinstance(result, Iterator) else result


async def awaiting(handler: Handler, use: Callable[[Any], Any], **options: Any) -> Any:
    async with AsyncClient("http://here", transport=httpx.MockTransport(handler), **options) as client:
        result = use(client)
        return [item async for item in result] if isinstance(result, AsyncIterator) else await result
