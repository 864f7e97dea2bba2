"""`POST /predict`, from a parsed request to predictions: by task and revision, or with nothing stored."""

import time
from typing import Any, NamedTuple

import orjson
from anyio import to_thread
from torch import Tensor

from app.api.choices import ChosenModel, adapt_work, chosen_model, chosen_settings, loaded_model
from app.api.codec import answer_rows, as_support, query_inputs, support_rows
from app.api.context import Context, now
from app.engine.engine import AdaptWork, TaskKey
from app.engine.worker import Timed
from app.episode import TaskParams
from app.store import Classes
from app.trees import from_bytes
from innerloop.errors import RevisionNotFound, SettingNotSupported
from innerloop.wire import PredictRequest

MAX_TRIES = 5
"""The latest revision may be pruned between reading its number and its weights; then there is a later one."""


class Prepared(NamedTuple):
    """A request held against the store: rows, and either a task's parameters or a support to adapt to."""

    chosen: ChosenModel
    task_id: str | None
    revision: int | None
    classes: Classes | None
    inputs: Tensor
    task_params: TaskParams | None
    work: AdaptWork | None
    abstain_below: float


async def predict(
    context: Context, tenant: str, request: PredictRequest, started: float, deadline: float | None
) -> bytes:
    """Return the answer as JSON; `started` and `deadline` are moments of time.monotonic()."""
    prepare = _by_task if request.task_id is not None else _stateless
    prepared = await to_thread.run_sync(prepare, context, tenant, request, deadline)
    done = await _outputs(context, prepared, deadline)
    return await to_thread.run_sync(_answer, prepared, done, started)


def _by_task(context: Context, tenant: str, request: PredictRequest, deadline: float | None) -> Prepared:
    for _ in range(MAX_TRIES):
        try:
            return _by_revision(context, tenant, request, deadline)
        except RevisionNotFound:
            if request.revision is not None:
                raise
    return _by_revision(context, tenant, request, deadline)


def _by_revision(context: Context, tenant: str, request: PredictRequest, deadline: float | None) -> Prepared:
    assert request.task_id is not None
    revision = context.store.revision(tenant, request.task_id, request.revision, now=now())
    chosen = loaded_model(context, revision.model, revision.model_version, deadline)
    abstain_below = _abstain_below(request, chosen)
    key = TaskKey(tenant, revision.task_id, revision.revision)
    params = context.engine.task_params(key, lambda: from_bytes(context.store.revision_weights(*key, now=now())))
    inputs = query_inputs(request.inputs, chosen.schema)
    return Prepared(chosen, revision.task_id, revision.revision, revision.classes, inputs, params, None, abstain_below)


def _stateless(context: Context, tenant: str, request: PredictRequest, deadline: float | None) -> Prepared:
    assert request.support is not None
    chosen = chosen_model(context, request.model or context.settings.default_model, deadline)
    settings = chosen_settings(request, chosen)
    abstain_below = _abstain_below(request, chosen)
    rows = support_rows(request.support, chosen.schema)
    work = adapt_work(chosen, as_support(rows, chosen.schema.card), settings, request)
    inputs = query_inputs(request.inputs, chosen.schema)
    return Prepared(chosen, None, None, rows.classes, inputs, None, work, abstain_below)


def _abstain_below(request: PredictRequest, chosen: ChosenModel) -> float:
    if request.abstain_below is not None and chosen.schema.card.output.kind == "regression":
        raise SettingNotSupported(
            f"{chosen.schema.model} answers numbers, which have no probabilities; leave abstain_below out"
        )
    return request.abstain_below or 0.0


async def _outputs(context: Context, prepared: Prepared, deadline: float | None) -> Timed[Tensor]:
    if prepared.work is not None:
        return await context.engine.adapt_and_predict(prepared.work, prepared.inputs, deadline)
    assert prepared.task_params is not None
    return await context.engine.predict(prepared.chosen.model, prepared.task_params, prepared.inputs, deadline)


def _answer(prepared: Prepared, done: Timed[Tensor], started: float) -> bytes:
    """Return a PredictAnswer; written by hand, since arrays go to the serializer as they are."""
    answer: dict[str, Any] = {
        "task_id": prepared.task_id,
        "revision": prepared.revision,
        "model": prepared.chosen.name,
        "model_version": prepared.chosen.version,
        **answer_rows(done.result, prepared.classes, prepared.abstain_below),
        "timing_ms": {
            "queue": round(done.queue_ms, 3),
            "compute": round(done.compute_ms, 3),
            "total": round((time.monotonic() - started) * 1e3, 3),
        },
    }
    return orjson.dumps(answer, option=orjson.OPT_SERIALIZE_NUMPY)
