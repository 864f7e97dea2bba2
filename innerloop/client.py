"""Talk to an innerloop service and wait for its answers; the requests are those of `AsyncClient`."""

import time
from collections.abc import Generator, Iterator, Mapping, Sequence
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


class Client:
    """Call the service and wait for its answers.

    The address is `url`, or the environment's INNERLOOP_URL, or http://127.0.0.1:8000; the key, where the service
    wants one, is `api_key` or the environment's INNERLOOP_API_KEY. What the service
    refuses raises the class of `innerloop.errors` that its code names. A request is sent again up to
    `retries` times when the service is full, not ready or cannot be reached, where that is safe;
    `Retry-After` is honoured up to `max_wait_seconds`. Lists go through all pages.
    """

    def __init__(
        self,
        url: str | None = None,
        *,
        api_key: str | None = None,
        timeout_seconds: float = 60.0,
        retries: int = 2,
        max_wait_seconds: float = 10.0,
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        self._policy = RetryPolicy(retries, max_wait_seconds)
        self._http = httpx.Client(
            base_url=base_url(url), headers=key_headers(api_key), timeout=timeout_seconds, transport=transport
        )
        self._quiet = httpx.Timeout(timeout_seconds, read=max(timeout_seconds, QUIET_SECONDS))

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
        return self._send(calls.adapt(inputs, targets, with_key(options)))

    def predict(self, inputs: Rows, **options: Unpack[PredictOptions]) -> wire.PredictAnswer:
        """Predict one answer a row, with the task `task_id` or from a `support` that is not kept."""
        return self._send(calls.predict(inputs, options))

    def adapt_batch(self, requests: Sequence[AdaptOne]) -> list[wire.AdaptAnswer | InnerloopError]:
        """Adapt many tasks in one request; each gives an answer, or the error `adapt` would raise."""
        return self._send(calls.adapt_batch(requests))

    def predict_batch(self, requests: Sequence[PredictOne]) -> list[wire.PredictAnswer | InnerloopError]:
        """Predict with many tasks in one request; each gives an answer, or the error `predict` would raise."""
        return self._send(calls.predict_batch(requests))

    def models(self) -> Iterator[wire.ModelInfo]:
        """List the models."""
        return self._items(calls.models())

    def model(self, name: str) -> wire.ModelInfo:
        """Describe a model and its versions."""
        return self._send(calls.model(name))

    def set_authority(self, name: str, authority: wire.Authority) -> wire.ModelInfo:
        """Choose what is stored of a model's revisions to come: `weights` too, or the `rows` alone."""
        return self._send(calls.set_authority(name, authority))

    def promote(self, name: str, version: int) -> wire.ModelInfo:
        """Make a version of a model active."""
        return self._send(calls.promote(name, version))

    def model_weights(self, name: str, version: int) -> bytes:
        """Download the initialisation of a version as safetensors, with its card in the metadata."""
        return self._send(calls.model_weights(name, version))

    def upload_model_version(self, name: str, data: bytes) -> wire.ModelVersionInfo:
        """Upload such a file as a new version of a model."""
        return self._send(calls.upload_model_version(name, data))

    def delete_model_version(self, name: str, version: int) -> None:
        """Delete a version that no task uses: not the active one of several; the last one takes the model along."""
        self._send(calls.delete_model_version(name, version))

    def tasks(self, model: str | None = None) -> Iterator[wire.TaskInfo]:
        """List the tasks, of one model or of all."""
        return self._items(calls.tasks(model))

    def task(self, task_id: str) -> wire.TaskInfo:
        """Describe a task."""
        return self._send(calls.task(task_id))

    def revisions(self, task_id: str) -> Iterator[wire.RevisionInfo]:
        """List the revisions of a task that are kept."""
        return self._items(calls.revisions(task_id))

    def task_weights(self, task_id: str, revision: int | None = None, form: Literal["full", "delta"] = "full") -> bytes:
        """Download a task's adapted parameters as safetensors; `delta`: what adaptation changed."""
        return self._send(calls.task_weights(task_id, revision, form))

    def support(self, task_id: str, revision: int | None = None) -> wire.SupportAnswer:
        """Download the support rows of a revision, the latest by default, in the units they were sent in."""
        return self._send(calls.support(task_id, revision))

    def remove_row(self, task_id: str, row: int, if_revision: int | None = None) -> wire.AdaptAnswer:
        """Take a row out of a task's support: adapt again without it, and delete all older revisions."""
        return self._send(calls.remove_row(task_id, row, if_revision))

    def audit(self, task_id: str | None = None) -> Iterator[wire.AuditInfo]:
        """List what was done to a task, there or not, or to all of them, the newest first."""
        return self._items(calls.audit(task_id))

    def delete_task(self, task_id: str) -> None:
        """Delete a task, its weights and its support rows."""
        self._send(calls.delete_task(task_id))

    def add_dataset(self, file: Path | str, spec: wire.DatasetSpec | Mapping[str, Any]) -> wire.DatasetInfo:
        """Upload a file as a data set: npz, safetensors, CSV, Parquet, or class folders, zipped or not."""
        return self._send(calls.add_dataset(upload_of(Path(file)), spec))

    def datasets(self) -> Iterator[wire.DatasetInfo]:
        """List the data sets."""
        return self._items(calls.datasets())

    def dataset(self, name: str) -> wire.DatasetInfo:
        """Describe a data set."""
        return self._send(calls.dataset(name))

    def delete_dataset(self, name: str) -> None:
        """Delete a data set that no queued or running job uses."""
        self._send(calls.delete_dataset(name))

    def meta_train(
        self,
        request: wire.MetaTrainRequest | Mapping[str, Any] | None = None,
        **options: Unpack[MetaTrainOptions],
    ) -> wire.JobInfo:
        """Start a meta-training job, from a request, from fields, or from a request with other fields."""
        return self._send(calls.meta_train(request, with_key(options)))

    def jobs(self) -> Iterator[wire.JobInfo]:
        """List the jobs, the newest first."""
        return self._items(calls.jobs())

    def job(self, job_id: str) -> wire.JobInfo:
        """Describe a job and how far it is."""
        return self._send(calls.job(job_id))

    def cancel_job(self, job_id: str) -> wire.JobInfo:
        """Stop a queued or running job; its last checkpoint is kept."""
        return self._send(calls.cancel_job(job_id))

    def resume_job(self, job_id: str) -> wire.JobInfo:
        """Let a cancelled or failed job go on from its last checkpoint."""
        return self._send(calls.resume_job(job_id))

    def checkpoint(self, job_id: str) -> bytes:
        """Download the last checkpoint of a job as safetensors."""
        return self._send(calls.checkpoint(job_id))

    def job_events(self, job_id: str, last_event_id: int | None = None) -> Iterator[wire.JobEvent]:
        """Follow a job: the events after `last_event_id`, or all of them, up to its `end`.

        A lost connection is made again and goes on where it was, for about a minute at a time.
        """
        follower = EventFollower(job_id, last_event_id, self._policy)
        while True:
            call = follower.connect()
            outcome = yield from self._listen(call, follower)
            wait = None if follower.ended else follower.wait_seconds(call, outcome)
            if wait is None:
                return
            time.sleep(wait)

    def wait_for_job(self, job_id: str, timeout_seconds: float | None = None) -> wire.JobInfo:
        """Wait until a job has ended, in whatever way; raises `TimedOut` when the time is over before."""
        wanted, start = JobWait(job_id, timeout_seconds, self._policy), time.monotonic()
        while True:
            outcome = self._exchange(wanted.call)
            wait = wanted.wait_seconds(outcome, time.monotonic() - start)
            if wait is None:
                return read(wanted.call, outcome)
            time.sleep(wait)

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

    def _listen(self, call: Call[None], follower: EventFollower) -> Generator[wire.JobEvent, None, Outcome]:
        try:
            with self._http.stream(call.method, call.path, headers=call.headers, timeout=self._quiet) as response:
                if not is_stream(response):
                    response.read()
                    return reply_of(response)
                for chunk in response.iter_bytes():
                    yield from follower.events(chunk)
                    if follower.ended:
                        break
        except httpx.RequestError as error:
            return lost(str(self._http.base_url), error)
        return lost(str(self._http.base_url))
