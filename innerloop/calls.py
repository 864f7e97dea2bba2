"""Build the request of every call; nothing here sends."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Generic, Literal, TypedDict, TypeVar

from innerloop import wire
from innerloop.encoding import Rows, encode
from innerloop.errors import InvalidId, InvalidIdempotencyKey

T = TypeVar("T")
Item = TypeVar("Item")

_ID = re.compile(r"[A-Za-z0-9_-]{1,64}")


@dataclass(frozen=True)
class Call(Generic[T]):
    """Describe one request, and how its answer is read.

    A `repeatable` call may be sent again when nobody knows whether it arrived. Answers with a status in
    `also_reads` are answers and not errors.
    """

    method: str
    path: str
    read: Callable[[bytes], T]
    params: Mapping[str, str] = field(default_factory=dict)
    content: bytes | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    repeatable: bool = True
    also_reads: tuple[int, ...] = ()


class Settings(TypedDict, total=False):
    """Say how to adapt; what is absent is the model's default."""

    model: str | None
    steps: int | None
    learning_rate: float | None
    learning_rate_scale: float | None
    on_divergence: Literal["error", "best"]
    timeout_ms: int | None


class AdaptOptions(Settings, total=False):
    """Name the task and how to keep it.

    `validation` is `(inputs, targets)`; `ttl_seconds=None` keeps the task for ever, while leaving it out
    keeps what the task has; `idempotency_key` is made by the client where it is left out.
    """

    task_id: str | None
    append: bool
    ttl_seconds: int | None
    if_revision: int | None
    validation: tuple[Rows, Rows] | None
    idempotency_key: str | None


class PredictOptions(Settings, total=False):
    """Name a task, or send a `support` of `(inputs, targets)` to adapt on and forget."""

    task_id: str | None
    revision: int | None
    support: tuple[Rows, Rows] | None


def adapt(inputs: Rows, targets: Rows, options: AdaptOptions) -> Call[wire.AdaptAnswer]:
    """Build `POST /adapt`; without an idempotency key it is not repeatable."""
    key = options.get("idempotency_key")
    if key is not None and not (key.isascii() and key.isprintable()):
        raise InvalidIdempotencyKey(f"{key!r} cannot stand in a header; use printable ASCII")
    headers = {"Idempotency-Key": key} if key is not None else {}
    body = {"support": (inputs, targets), **options}
    return _post("/adapt", body, wire.AdaptAnswer.model_validate_json, headers, repeatable=key is not None)


def predict(inputs: Rows, options: PredictOptions) -> Call[wire.PredictAnswer]:
    """Build `POST /predict`."""
    return _post("/predict", {**options, "inputs": inputs}, wire.PredictAnswer.model_validate_json)


def models() -> Call[wire.Page[wire.ModelInfo]]:
    """Build `GET /models`."""
    return Call("GET", "/models", wire.Page[wire.ModelInfo].model_validate_json)


def model(name: str) -> Call[wire.ModelInfo]:
    """Build `GET /models/{name}`."""
    return Call("GET", f"/models/{_segment(name)}", wire.ModelInfo.model_validate_json)


def promote(name: str, version: int) -> Call[wire.ModelInfo]:
    """Build `POST /models/{name}/promote`."""
    body = {"version": version}
    return _post(f"/models/{_segment(name)}/promote", body, wire.ModelInfo.model_validate_json)


def tasks(model: str | None) -> Call[wire.Page[wire.TaskInfo]]:
    """Build `GET /tasks`."""
    params = {} if model is None else {"model": model}
    return Call("GET", "/tasks", wire.Page[wire.TaskInfo].model_validate_json, params)


def task(task_id: str) -> Call[wire.TaskInfo]:
    """Build `GET /tasks/{id}`."""
    return Call("GET", f"/tasks/{_segment(task_id)}", wire.TaskInfo.model_validate_json)


def revisions(task_id: str) -> Call[wire.Page[wire.RevisionInfo]]:
    """Build `GET /tasks/{id}/revisions`."""
    read = wire.Page[wire.RevisionInfo].model_validate_json
    return Call("GET", f"/tasks/{_segment(task_id)}/revisions", read)


def delete_task(task_id: str) -> Call[None]:
    """Build `DELETE /tasks/{id}`; not repeatable, because a second one answers that there is no task."""
    return Call("DELETE", f"/tasks/{_segment(task_id)}", lambda _: None, repeatable=False)


def limits() -> Call[wire.Limits]:
    """Build `GET /limits`."""
    return Call("GET", "/limits", wire.Limits.model_validate_json)


def health() -> Call[wire.Health]:
    """Build `GET /healthz`."""
    return Call("GET", "/healthz", wire.Health.model_validate_json)


def ready() -> Call[wire.Readiness]:
    """Build `GET /readyz`; a 503 that carries the reasons is an answer."""
    return Call("GET", "/readyz", wire.Readiness.model_validate_json, also_reads=(503,))


def problem(code: str) -> Call[wire.ProblemInfo]:
    """Build `GET /problems/{code}`."""
    return Call("GET", f"/problems/{_segment(code)}", wire.ProblemInfo.model_validate_json)


def next_page(call: Call[wire.Page[Item]], page: wire.Page[Item]) -> Call[wire.Page[Item]] | None:
    """Build the call for the page after this one; None after the last."""
    if not page.has_more or page.next is None:
        return None
    return replace(call, params={**call.params, "after": page.next})


def _segment(name: str) -> str:
    if not _ID.fullmatch(name):
        raise InvalidId(f"{name!r} is no id: 1 to 64 of A-Z a-z 0-9 _ and -")
    return name


def _post(
    path: str,
    fields: Mapping[str, Any],
    read: Callable[[bytes], T],
    headers: Mapping[str, str] | None = None,
    *,
    repeatable: bool = True,
) -> Call[T]:
    timeout_ms = fields.get("timeout_ms")
    sent = {"Content-Type": "application/json", **(headers or {})}
    if timeout_ms is not None:
        sent["X-Request-Timeout-Ms"] = str(timeout_ms)
    body = {name: _field(name, value) for name, value in fields.items() if _is_sent(name, value)}
    return Call("POST", path, read, content=encode(body), headers=sent, repeatable=repeatable)


def _is_sent(name: str, value: object) -> bool:
    if name in ("idempotency_key", "timeout_ms"):
        return False
    return value is not None or name == "ttl_seconds"  # null is for ever; elsewhere it is the default


def _field(name: str, value: Any) -> Any:
    if name in ("support", "validation"):
        inputs, targets = value
        return {"inputs": inputs, "targets": targets}
    return value
