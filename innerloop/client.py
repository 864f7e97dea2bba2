"""Talk to an innerloop service, blocking or awaiting: two thin shells around the same requests."""

import asyncio
import os
import time
from collections.abc import AsyncIterator, Iterator
from itertools import count
from types import TracebackType
from typing import Self, TypeVar, Unpack
from uuid import uuid4

import httpx

from innerloop import calls, wire
from innerloop.calls import AdaptOptions, Call, PredictOptions
from innerloop.encoding import Rows
from innerloop.errors import Unreachable
from innerloop.replies import Outcome, RetryPolicy, failure_of, read, reply_of, wait_seconds

T = TypeVar("T")
Item = TypeVar("Item")

DEFAULT_URL = "http://127.0.0.1:8000"
_MAX_PORT = 65_535


def _base_url(url: str | None) -> httpx.URL:
    text = url or os.environ.get("INNERLOOP_URL") or DEFAULT_URL
    try:
        base = httpx.URL(text)
    except httpx.InvalidURL as error:
        raise Unreachable(f"{text!r} is no address: {error}") from error
    if base.scheme not in ("http", "https") or not base.host or (base.port or 0) > _MAX_PORT:
        raise Unreachable(f"{text!r} is no address such as {DEFAULT_URL}")
    return base


def _with_key(options: AdaptOptions) -> AdaptOptions:
    return {"idempotency_key": uuid4().hex, **options}


class Client:
    """Call the service and wait for its answers.

    The address is `url`, or the environment's INNERLOOP_URL, or http://127.0.0.1:8000. What the service
    refuses raises the class of `innerloop.errors` that its code names. A request is sent again up to
    `retries` times when the service is full, not ready or cannot be reached, where that is safe;
    `Retry-After` is honoured up to `max_wait_seconds`. Lists go through all pages.
    """

    def __init__(
        self,
        url: str | None = None,
        *,
        timeout_seconds: float = 60.0,
        retries: int = 2,
        max_wait_seconds: float = 10.0,
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        self._policy = RetryPolicy(retries, max_wait_seconds)
        self._http = httpx.Client(base_url=_base_url(url), timeout=timeout_seconds, transport=transport)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def adapt(self, inputs: Rows, targets: Rows, **options: Unpack[AdaptOptions]) -> wire.AdaptAnswer:
        """Adapt a model to these rows and keep the result as the task's new revision."""
        return self._send(calls.adapt(inputs, targets, _with_key(options)))

    def predict(self, inputs: Rows, **options: Unpack[PredictOptions]) -> wire.PredictAnswer:
        """Predict one answer a row, with the task `task_id` or from a `support` that is not kept."""
        return self._send(calls.predict(inputs, options))

    def models(self) -> Iterator[wire.ModelInfo]:
        """List the models."""
        return self._items(calls.models())

    def model(self, name: str) -> wire.ModelInfo:
        """Describe a model and its versions."""
        return self._send(calls.model(name))

    def promote(self, name: str, version: int) -> wire.ModelInfo:
        """Make a version of a model active."""
        return self._send(calls.promote(name, version))

    def tasks(self, model: str | None = None) -> Iterator[wire.TaskInfo]:
        """List the tasks, of one model or of all."""
        return self._items(calls.tasks(model))

    def task(self, task_id: str) -> wire.TaskInfo:
        """Describe a task."""
        return self._send(calls.task(task_id))

    def revisions(self, task_id: str) -> Iterator[wire.RevisionInfo]:
        """List the revisions of a task that are kept."""
        return self._items(calls.revisions(task_id))

    def delete_task(self, task_id: str) -> None:
        """Delete a task, its weights and its support rows."""
        self._send(calls.delete_task(task_id))

    def limits(self) -> wire.Limits:
        """Read every cap of the service."""
        return self._send(calls.limits())

    def health(self) -> wire.Health:
        """Ask whether the service is alive."""
        return self._send(calls.health())

    def ready(self) -> wire.Readiness:
        """Ask whether the service takes work; when it does not, the answer has the reasons."""
        return self._send(calls.ready())

    def problem(self, code: str) -> wire.ProblemInfo:
        """Explain an error code."""
        return self._send(calls.problem(code))

    def _items(self, first: Call[wire.Page[Item]]) -> Iterator[Item]:
        call: Call[wire.Page[Item]] | None = first
        while call is not None:
            page = self._send(call)
            yield from page.data
            call = calls.next_page(call, page)

    def _send(self, call: Call[T]) -> T:
        for attempt in count():
            outcome = self._exchange(call)
            wait = wait_seconds(call, outcome, attempt, self._policy)
            if wait is None:
                break
            time.sleep(wait)
        return read(call, outcome)

    def _exchange(self, call: Call[T]) -> Outcome:
        try:
            response = self._http.request(
                call.method, call.path, params=call.params, content=call.content, headers=call.headers
            )
        except httpx.RequestError as error:
            return failure_of(error, str(self._http.base_url))
        return reply_of(response)


class AsyncClient:
    """Call the service and await its answers; otherwise just as `Client`."""

    def __init__(
        self,
        url: str | None = None,
        *,
        timeout_seconds: float = 60.0,
        retries: int = 2,
        max_wait_seconds: float = 10.0,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        self._policy = RetryPolicy(retries, max_wait_seconds)
        self._http = httpx.AsyncClient(base_url=_base_url(url), timeout=timeout_seconds, transport=transport)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the connections."""
        await self._http.aclose()

    async def adapt(self, inputs: Rows, targets: Rows, **options: Unpack[AdaptOptions]) -> wire.AdaptAnswer:
        """Adapt a model to these rows and keep the result as the task's new revision."""
        return await self._send(calls.adapt(inputs, targets, _with_key(options)))

    async def predict(self, inputs: Rows, **options: Unpack[PredictOptions]) -> wire.PredictAnswer:
        """Predict one answer a row, with the task `task_id` or from a `support` that is not kept."""
        return await self._send(calls.predict(inputs, options))

    def models(self) -> AsyncIterator[wire.ModelInfo]:
        """List the models."""
        return self._items(calls.models())

    async def model(self, name: str) -> wire.ModelInfo:
        """Describe a model and its versions."""
        return await self._send(calls.model(name))

    async def promote(self, name: str, version: int) -> wire.ModelInfo:
        """Make a version of a model active."""
        return await self._send(calls.promote(name, version))

    def tasks(self, model: str | None = None) -> AsyncIterator[wire.TaskInfo]:
        """List the tasks, of one model or of all."""
        return self._items(calls.tasks(model))

    async def task(self, task_id: str) -> wire.TaskInfo:
        """Describe a task."""
        return await self._send(calls.task(task_id))

    def revisions(self, task_id: str) -> AsyncIterator[wire.RevisionInfo]:
        """List the revisions of a task that are kept."""
        return self._items(calls.revisions(task_id))

    async def delete_task(self, task_id: str) -> None:
        """Delete a task, its weights and its support rows."""
        await self._send(calls.delete_task(task_id))

    async def limits(self) -> wire.Limits:
        """Read every cap of the service."""
        return await self._send(calls.limits())

    async def health(self) -> wire.Health:
        """Ask whether the service is alive."""
        return await self._send(calls.health())

    async def ready(self) -> wire.Readiness:
        """Ask whether the service takes work; when it does not, the answer has the reasons."""
        return await self._send(calls.ready())

    async def problem(self, code: str) -> wire.ProblemInfo:
        """Explain an error code."""
        return await self._send(calls.problem(code))

    async def _items(self, first: Call[wire.Page[Item]]) -> AsyncIterator[Item]:
        call: Call[wire.Page[Item]] | None = first
        while call is not None:
            page = await self._send(call)
            for item in page.data:
                yield item
            call = calls.next_page(call, page)

    async def _send(self, call: Call[T]) -> T:
        for attempt in count():
            outcome = await self._exchange(call)
            wait = wait_seconds(call, outcome, attempt, self._policy)
            if wait is None:
                break
            await asyncio.sleep(wait)
        return read(call, outcome)

    async def _exchange(self, call: Call[T]) -> Outcome:
        try:
            response = await self._http.request(
                call.method, call.path, params=call.params, content=call.content, headers=call.headers
            )
        except httpx.RequestError as error:
            return failure_of(error, str(self._http.base_url))
        return reply_of(response)
