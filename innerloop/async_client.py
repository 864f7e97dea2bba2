"""Talk to an innerloop service and await its answers; the requests are those of `Client`."""

import asyncio
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from itertools import count
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self, TypeVar, Unpack

import httpx

from innerloop import calls, wire
from innerloop.address import base_url, key_headers
from innerloop.calls import AdaptOne, AdaptOptions, Call, MetaTrainOptions, PredictOne, PredictOptions, with_key
from innerloop.dataset_files import upload_of
from innerloop.encoding import Rows
from innerloop.errors import InnerloopError
from innerloop.following import QUIET_SECONDS, EventFollower, JobWait, is_stream, lost
from innerloop.replies import Outcome, RetryPolicy, failure_of, read, reply_of, wait_seconds

T = TypeVar("T")
Item = TypeVar("Item")


class AsyncClient:
    """Call the service and await its answers; otherwise just as `Client`."""

    def __init__(
        self,
        url: str | None = None,
        *,
        api_key: str | None = None,
        timeout_seconds: float = 60.0,
        retries: int = 2,
        max_wait_seconds: float = 10.0,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        self._policy = RetryPolicy(retries, max_wait_seconds)
        self._http = httpx.AsyncClient(
            base_url=base_url(url), headers=key_headers(api_key), timeout=timeout_seconds, transport=transport
        )
        self._quiet = httpx.Timeout(timeout_seconds, read=max(timeout_seconds, QUIET_SECONDS))

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
        return await self._send(calls.adapt(inputs, targets, with_key(options)))

    async def predict(self, inputs: Rows, **options: Unpack[PredictOptions]) -> wire.PredictAnswer:
        """Predict one answer a row, with the task `task_id` or from a `support` that is not kept."""
        return await self._send(calls.predict(inputs, options))

    async def adapt_batch(self, requests: Sequence[AdaptOne]) -> list[wire.AdaptAnswer | InnerloopError]:
        """Adapt many tasks in one request; each gives an answer, or the error `adapt` would raise."""
        return await self._send(calls.adapt_batch(requests))

    async def predict_batch(self, requests: Sequence[PredictOne]) -> list[wire.PredictAnswer | InnerloopError]:
        """Predict with many tasks in one request; each gives an answer, or the error `predict` would raise."""
        return await self._send(calls.predict_batch(requests))

    def models(self) -> AsyncIterator[wire.ModelInfo]:
        """List the models."""
        return self._items(calls.models())

    async def model(self, name: str) -> wire.ModelInfo:
        """Describe a model and its versions."""
        return await self._send(calls.model(name))

    async def set_authority(self, name: str, authority: wire.Authority) -> wire.ModelInfo:
        """Choose what is stored of a model's revisions to come: `weights` too, or the `rows` alone."""
        return await self._send(calls.set_authority(name, authority))

    async def promote(self, name: str, version: int) -> wire.ModelInfo:
        """Make a version of a model active."""
        return await self._send(calls.promote(name, version))

    async def model_weights(self, name: str, version: int) -> bytes:
        """Download the initialisation of a version as safetensors, with its card in the metadata."""
        return await self._send(calls.model_weights(name, version))

    async def upload_model_version(self, name: str, data: bytes) -> wire.ModelVersionInfo:
        """Upload such a file as a new version of a model."""
        return await self._send(calls.upload_model_version(name, data))

    async def delete_model_version(self, name: str, version: int) -> None:
        """Delete a version that no task uses: not the active one of several; the last one takes the model along."""
        await self._send(calls.delete_model_version(name, version))

    def tasks(self, model: str | None = None) -> AsyncIterator[wire.TaskInfo]:
        """List the tasks, of one model or of all."""
        return self._items(calls.tasks(model))

    async def task(self, task_id: str) -> wire.TaskInfo:
        """Describe a task."""
        return await self._send(calls.task(task_id))

    def revisions(self, task_id: str) -> AsyncIterator[wire.RevisionInfo]:
        """List the revisions of a task that are kept."""
        return self._items(calls.revisions(task_id))

    async def task_weights(
        self, task_id: str, revision: int | None = None, form: Literal["full", "delta"] = "full"
    ) -> bytes:
        """Download a task's adapted parameters as safetensors; `delta`: what adaptation changed."""
        return await self._send(calls.task_weights(task_id, revision, form))

    async def support(self, task_id: str, revision: int | None = None) -> wire.SupportAnswer:
        """Download the support rows of a revision, the latest by default, in the units they were sent in."""
        return await self._send(calls.support(task_id, revision))

    async def remove_row(self, task_id: str, row: int, if_revision: int | None = None) -> wire.AdaptAnswer:
        """Take a row out of a task's support: adapt again without it, and delete all older revisions."""
        return await self._send(calls.remove_row(task_id, row, if_revision))

    def audit(self, task_id: str | None = None) -> AsyncIterator[wire.AuditInfo]:
        """List what was done to a task, there or not, or to all of them, the newest first."""
        return self._items(calls.audit(task_id))

    async def delete_task(self, task_id: str) -> None:
        """Delete a task, its weights and its support rows."""
        await self._send(calls.delete_task(task_id))

    async def add_dataset(self, file: Path | str, spec: wire.DatasetSpec | Mapping[str, Any]) -> wire.DatasetInfo:
        """Upload a file as a data set: npz, safetensors, CSV, Parquet, or class folders, zipped or not."""
        return await self._send(calls.add_dataset(await asyncio.to_thread(upload_of, Path(file)), spec))

    def datasets(self) -> AsyncIterator[wire.DatasetInfo]:
        """List the data sets."""
        return self._items(calls.datasets())

    async def dataset(self, name: str) -> wire.DatasetInfo:
        """Describe a data set."""
        return await self._send(calls.dataset(name))

    async def delete_dataset(self, name: str) -> None:
        """Delete a data set that no queued or running job uses."""
        await self._send(calls.delete_dataset(name))

    async def meta_train(
        self,
        request: wire.MetaTrainRequest | Mapping[str, Any] | None = None,
        **options: Unpack[MetaTrainOptions],
    ) -> wire.JobInfo:
        """Start a meta-training job, from a request, from fields, or from a request with other fields."""
        return await self._send(calls.meta_train(request, with_key(options)))

    def jobs(self) -> AsyncIterator[wire.JobInfo]:
        """List the jobs, the newest first."""
        return self._items(calls.jobs())

    async def job(self, job_id: str) -> wire.JobInfo:
        """Describe a job and how far it is."""
        return await self._send(calls.job(job_id))

    async def cancel_job(self, job_id: str) -> wire.JobInfo:
        """Stop a queued or running job; its last checkpoint is kept."""
        return await self._send(calls.cancel_job(job_id))

    async def resume_job(self, job_id: str) -> wire.JobInfo:
        """Let a cancelled or failed job go on from its last checkpoint."""
        return await self._send(calls.resume_job(job_id))

    async def checkpoint(self, job_id: str) -> bytes:
        """Download the last checkpoint of a job as safetensors."""
        return await self._send(calls.checkpoint(job_id))

    async def job_events(self, job_id: str, last_event_id: int | None = None) -> AsyncIterator[wire.JobEvent]:
        """Follow a job: the events after `last_event_id`, or all of them, up to its `end`.

        A lost connection is made again and goes on where it was, for about a minute at a time.
        """
        follower = EventFollower(job_id, last_event_id, self._policy)
        while True:
            call = follower.connect()
            try:
                async with self._http.stream(
                    call.method, call.path, headers=call.headers, timeout=self._quiet
                ) as response:
                    if is_stream(response):
                        async for chunk in response.aiter_bytes():
                            for event in follower.events(chunk):
                                yield event
                            if follower.ended:
                                return
                        outcome = lost(str(self._http.base_url))
                    else:
                        await response.aread()
                        outcome = reply_of(response)
            except httpx.RequestError as error:
                outcome = lost(str(self._http.base_url), error)
            wait = follower.wait_seconds(call, outcome)
            if wait is None:
                return
            await asyncio.sleep(wait)

    async def wait_for_job(self, job_id: str, timeout_seconds: float | None = None) -> wire.JobInfo:
        """Wait until a job has ended, in whatever way; raises `TimedOut` when the time is over before."""
        wanted, start = JobWait(job_id, timeout_seconds, self._policy), time.monotonic()
        while True:
            outcome = await self._exchange(wanted.call)
            wait = wanted.wait_seconds(outcome, time.monotonic() - start)
            if wait is None:
                return read(wanted.call, outcome)
            await asyncio.sleep(wait)

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
