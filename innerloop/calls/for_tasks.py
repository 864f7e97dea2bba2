"""Build the requests that adapt, predict and look after tasks."""

from collections.abc import Mapping
from functools import partial
from typing import Any, Literal, TypedDict, TypeVar

from pydantic import BaseModel

from innerloop import wire
from innerloop.calls.call import SAFETENSORS, Call, deletion, key_headers, post, safetensors, segment
from innerloop.encoding import Rows
from innerloop.tensors import encode_tensors, read_tensors

Answer = TypeVar("Answer", bound=BaseModel)


class Settings(TypedDict, total=False):
    """Say how to adapt; what is absent is the model's default."""

    model: str | None
    steps: int | None
    learning_rate: float | None
    learning_rate_scale: float | None
    on_divergence: Literal["error", "best"]


class Sending(TypedDict, total=False):
    """Say how a request goes and how long its caller waits.

    With `binary` arrays go as their bytes and not as text, and answers come back the same way: for large ones, which
    are then read many times faster. Lists, sentences and pictures still go as JSON.
    """

    timeout_ms: int | None
    binary: bool


class AdaptFields(Settings, total=False):
    """Name the task and how to keep it.

    `validation` is `(inputs, targets)`; `ttl_seconds=None` keeps the task for ever, while leaving it out
    keeps what the task has; `estimate=False` saves the time that cross-validating the support takes;
    `store_support=False` keeps the adapted weights without the rows.
    """

    task_id: str | None
    append: bool
    ttl_seconds: int | None
    if_revision: int | None
    validation: tuple[Rows, Rows] | None
    estimate: bool
    store_support: bool


class AdaptOptions(AdaptFields, Sending, total=False):
    """All that goes with an adaptation; `idempotency_key` is made by the client where it is left out."""

    idempotency_key: str | None


class PredictFields(Settings, total=False):
    """Name a task, or send a `support` of `(inputs, targets)` to adapt on and forget.

    Rows whose largest probability is below `abstain_below` get the label None.
    """

    task_id: str | None
    revision: int | None
    support: tuple[Rows, Rows] | None
    abstain_below: float | None


class PredictOptions(PredictFields, Sending, total=False):
    """All that goes with a prediction."""


def adapt(inputs: Rows, targets: Rows, options: AdaptOptions) -> Call[wire.AdaptAnswer]:
    """Build `POST /adapt`; without an idempotency key it is not repeatable."""
    key = options.get("idempotency_key")
    body = body_of({"support": (inputs, targets), **options})
    headers = {**key_headers(key), **_deadline(options)}
    return _post("/adapt", body, wire.AdaptAnswer, headers, options, repeatable=key is not None)


def predict(inputs: Rows, options: PredictOptions) -> Call[wire.PredictAnswer]:
    """Build `POST /predict`."""
    body = body_of({**options, "inputs": inputs})
    return _post("/predict", body, wire.PredictAnswer, _deadline(options), options)


def tasks(model: str | None) -> Call[wire.Page[wire.TaskInfo]]:
    """Build `GET /tasks`."""
    params = {} if model is None else {"model": model}
    return Call("GET", "/tasks", wire.Page[wire.TaskInfo].model_validate_json, params)


def task(task_id: str) -> Call[wire.TaskInfo]:
    """Build `GET /tasks/{id}`."""
    return Call("GET", f"/tasks/{segment(task_id)}", wire.TaskInfo.model_validate_json)


def revisions(task_id: str) -> Call[wire.Page[wire.RevisionInfo]]:
    """Build `GET /tasks/{id}/revisions`."""
    read = wire.Page[wire.RevisionInfo].model_validate_json
    return Call("GET", f"/tasks/{segment(task_id)}/revisions", read)


def task_weights(task_id: str, revision: int | None, form: Literal["full", "delta"]) -> Call[bytes]:
    """Build `GET /tasks/{id}/weights`."""
    params = {"form": form} if revision is None else {"form": form, "revision": str(revision)}
    return Call("GET", f"/tasks/{segment(task_id)}/weights", safetensors, params, headers={"Accept": SAFETENSORS})


def support(task_id: str, revision: int | None) -> Call[wire.SupportAnswer]:
    """Build `GET /tasks/{id}/support`."""
    params = {} if revision is None else {"revision": str(revision)}
    return Call("GET", f"/tasks/{segment(task_id)}/support", wire.SupportAnswer.model_validate_json, params)


def remove_row(task_id: str, row: int, if_revision: int | None) -> Call[wire.AdaptAnswer]:
    """Build `DELETE /tasks/{id}/support/{row}`; not repeatable, because a second one takes out another row."""
    params = {} if if_revision is None else {"if_revision": str(if_revision)}
    path = f"/tasks/{segment(task_id)}/support/{row}"
    return Call("DELETE", path, wire.AdaptAnswer.model_validate_json, params, repeatable=False)


def audit(task_id: str | None) -> Call[wire.Page[wire.AuditInfo]]:
    """Build `GET /audit`."""
    params = {} if task_id is None else {"task_id": segment(task_id)}
    return Call("GET", "/audit", wire.Page[wire.AuditInfo].model_validate_json, params)


def delete_task(task_id: str) -> Call[None]:
    """Build `DELETE /tasks/{id}`."""
    return deletion(f"/tasks/{segment(task_id)}")


def _post(
    path: str,
    body: Mapping[str, Any],
    answer: type[Answer],
    headers: Mapping[str, str],
    options: Sending,
    *,
    repeatable: bool = True,
) -> Call[Answer]:
    if not options.get("binary"):
        return post(path, body, answer.model_validate_json, headers, repeatable=repeatable)
    sent = {"Content-Type": SAFETENSORS, "Accept": SAFETENSORS, **headers}
    read = partial(read_tensors, answer)
    return Call("POST", path, read, content=encode_tensors(body), headers=sent, repeatable=repeatable)


def _deadline(options: Sending) -> dict[str, str]:
    timeout_ms = options.get("timeout_ms")
    return {} if timeout_ms is None else {"X-Request-Timeout-Ms": str(timeout_ms)}


def body_of(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Return the JSON object of a call's options: without what goes elsewhere, and without what is absent."""
    return {name: _field(name, value) for name, value in fields.items() if _is_sent(name, value)}


def _is_sent(name: str, value: object) -> bool:
    if name in ("idempotency_key", "timeout_ms", "binary"):
        return False
    return value is not None or name == "ttl_seconds"  # null is for ever; elsewhere it is the default


def _field(name: str, value: Any) -> Any:
    if name in ("support", "validation"):
        inputs, targets = value
        return {"inputs": inputs, "targets": targets}
    return value
