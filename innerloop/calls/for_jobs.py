"""Build the requests that start, follow and stop meta-training jobs."""

from collections.abc import Mapping
from typing import Any, Literal, TypedDict

from innerloop import wire
from innerloop.calls.call import SAFETENSORS, Call, key_headers, nothing, post, safetensors, segment

EVENT_STREAM = "text/event-stream"


class MetaTrainOptions(TypedDict, total=False):
    """Hold the fields of a meta-training request; what is absent is the service's default.

    `learner`, `network` and `tasks` name a `kind` beside its options. `idempotency_key` is made by the
    client where it is left out.
    """

    name: str
    learner: Mapping[str, Any]
    network: Mapping[str, Any]
    tasks: Mapping[str, Any]
    loss: str | None
    iterations: int
    meta_batch_size: int
    optimizer: Literal["adam", "adamw", "sgd"]
    meta_learning_rate: float
    learning_rate_schedule: Literal["cosine", "constant"]
    clip_norm: float | None
    validate_every: int
    patience: int | None
    compile: Literal["auto", "never", "always"]
    seed: int
    promote: Literal["if_better", "always", "never"]
    idempotency_key: str | None


def meta_train(
    request: wire.MetaTrainRequest | Mapping[str, Any] | None, options: MetaTrainOptions
) -> Call[wire.JobInfo]:
    """Build `POST /meta-train` of a request and of options that go before its fields.

    Without an idempotency key it is not repeatable.
    """
    if isinstance(request, wire.MetaTrainRequest):
        request = request.model_dump(mode="json", exclude_unset=True)
    body = {**(request or {}), **options}
    key = body.pop("idempotency_key", None)
    return post("/meta-train", body, wire.JobInfo.model_validate_json, key_headers(key), repeatable=key is not None)


def jobs() -> Call[wire.Page[wire.JobInfo]]:
    """Build `GET /meta-train`."""
    return Call("GET", "/meta-train", wire.Page[wire.JobInfo].model_validate_json)


def job(job_id: str) -> Call[wire.JobInfo]:
    """Build `GET /meta-train/{id}`."""
    return Call("GET", f"/meta-train/{segment(job_id)}", wire.JobInfo.model_validate_json)


def cancel_job(job_id: str) -> Call[wire.JobInfo]:
    """Build `POST /meta-train/{id}/cancel`; not repeatable, because a second one comes too late."""
    return _order(job_id, "cancel")


def resume_job(job_id: str) -> Call[wire.JobInfo]:
    """Build `POST /meta-train/{id}/resume`; not repeatable, because a second one comes too late."""
    return _order(job_id, "resume")


def job_events(job_id: str, last_event_id: int | None) -> Call[None]:
    """Build `GET /meta-train/{id}/events`, whose answer is a stream, or 204 where nothing more comes."""
    headers = {"Accept": EVENT_STREAM, "Cache-Control": "no-store"}
    if last_event_id is not None:
        headers["Last-Event-ID"] = str(int(last_event_id))
    return Call("GET", f"/meta-train/{segment(job_id)}/events", nothing, headers=headers)


def checkpoint(job_id: str) -> Call[bytes]:
    """Build `GET /meta-train/{id}/checkpoint`."""
    return Call("GET", f"/meta-train/{segment(job_id)}/checkpoint", safetensors, headers={"Accept": SAFETENSORS})


def _order(job_id: str, word: str) -> Call[wire.JobInfo]:
    path = f"/meta-train/{segment(job_id)}/{word}"
    return Call("POST", path, wire.JobInfo.model_validate_json, repeatable=False)
