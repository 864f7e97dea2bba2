"""`POST /predict`, from a body to predictions: by task and revision, or with nothing stored."""

import time
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
import orjson
from torch import Tensor

from app.api.choices import (
    ActiveVersions,
    ChosenModel,
    adapt_work,
    chosen_model,
    chosen_settings,
    holds_strings,
    loaded_model,
)
from app.api.codec import answer_rows, as_support, query_inputs, support_rows
from app.api.context import Context, now
from app.api.model_names import Wanted, public_name, wanted
from app.api.stages import TooSlow, attempted
from app.api.task_params import params_of
from app.engine.engine import TaskKey
from app.engine.executor import AdaptWork
from app.engine.packed import Packed
from app.engine.ticket import Onward, Timed
from app.store import Classes, Head
from innerloop.errors import RevisionNotFound, SettingNotSupported
from innerloop.wire import PredictRequest

ReadPredict = Callable[[], PredictRequest]
"""Parses a body."""
MAX_TRIES = 5
"""The latest revision may be pruned between reading its number and its weights; then there is a later one."""


class PredictCall(NamedTuple):
    """One call of /predict."""

    context: Context
    tenant: str
    read: ReadPredict
    deadline: float | None


class Prepared(NamedTuple):
    """A request held against the store: rows, and either a task's parameters or a support to adapt to."""

    chosen: ChosenModel
    task_id: str | None
    revision: int | None
    classes: Classes | None
    inputs: Tensor
    params: Packed | None
    work: AdaptWork | None
    abstain_below: float


class Predicted(NamedTuple):
    """What a task makes of rows."""

    task_id: str | None
    revision: int | None
    model: str
    model_version: int
    classes: Classes | None
    outputs: "np.ndarray[Any, np.dtype[np.float32]]"
    """[Q, O]: numbers, or probabilities of all the classes that the model can hold, the task's first."""
    abstain_below: float
    queue_ms: float
    compute_ms: float


async def predict(
    context: Context, tenant: str, read: ReadPredict, deadline: float | None, *, is_large: bool = False
) -> Predicted:
    """Return what a task makes of rows; `read` parses the body, `deadline` is a moment of time.monotonic()."""
    call = PredictCall(context, tenant, read, deadline)
    with context.load.work(tenant, ("predict", is_large)):
        predicted: Predicted = await context.reading.run(
            prepare_many, call, lambda read: _way(call, read.result), deadline, is_large=is_large
        )
    return predicted


def _way(call: PredictCall, prepared: Prepared) -> Onward:
    """Return the way of a request that was read, to what its caller is told."""
    engine, chosen = call.context.engine, prepared.chosen

    def told(done: Timed[Tensor]) -> Predicted:
        return Predicted(
            prepared.task_id,
            prepared.revision,
            public_name(chosen.name),
            chosen.version,
            prepared.classes,
            done.result.numpy(),
            prepared.abstain_below,
            done.queue_ms,
            done.compute_ms,
        )

    if prepared.params is not None:
        return engine.predicting(chosen.model, prepared.params, prepared.inputs, call.deadline, told)
    assert prepared.work is not None
    key = None
    if prepared.task_id is not None and prepared.revision is not None:
        key = TaskKey(call.tenant, prepared.task_id, prepared.revision)
    return engine.adapting_to_predict(prepared.work, prepared.inputs, call.deadline, told, keep_as=key)


def answer_of(predicted: Predicted, started: float) -> dict[str, Any]:
    """Return a PredictAnswer; written by hand, since arrays go to the serializer as they are."""
    return {
        "task_id": predicted.task_id,
        "revision": predicted.revision,
        "model": predicted.model,
        "model_version": predicted.model_version,
        **answer_rows(predicted.outputs, predicted.classes, predicted.abstain_below),
        "timing_ms": {
            "queue": round(predicted.queue_ms, 3),
            "compute": round(predicted.compute_ms, 3),
            "total": round((time.monotonic() - started) * 1e3, 3),
        },
    }


def answer_json(predicted: Predicted, started: float) -> bytes:
    """Return the answer as JSON."""
    return orjson.dumps(answer_of(predicted, started), option=orjson.OPT_SERIALIZE_NUMPY)


def prepare_many(calls: Sequence[PredictCall], quick: bool) -> list[Prepared | Exception]:
    """Return what to compute for each call, or its error: the store is read once for all of them. Blocks.

    With `quick` TooSlow for pictures, sentences and tasks that must be adapted again.
    """
    context = calls[0].context
    requests = [attempted(call.read) for call in calls]
    active = ActiveVersions(context)
    for i, request in enumerate(requests):
        if isinstance(request, PredictRequest) and request.task_id is None:
            active.will_be_asked(_wanted(calls[i], request))
    heads = _heads(calls, requests)
    params = _params(calls, heads, quick)
    return [
        request
        if isinstance(request, Exception)
        else attempted(_by_task, call, request, heads[i], params.get(i, heads[i]), quick)
        if request.task_id is not None
        else attempted(_stateless, call, request, active, quick)
        for i, (call, request) in enumerate(zip(calls, requests, strict=True))
    ]


Heads = dict[int, "Head | Exception"]


def _heads(calls: Sequence[PredictCall], requests: Sequence[PredictRequest | Exception]) -> Heads:
    """Return, by place in the list, what the store knows of the tasks that are asked for."""
    asked = {
        i: (calls[i].tenant, request.task_id, request.revision)
        for i, request in enumerate(requests)
        if isinstance(request, PredictRequest) and request.task_id is not None
    }
    if not asked:
        return {}
    return dict(zip(asked, calls[0].context.store.heads([*asked.values()], now=now()), strict=True))


def _params(calls: Sequence[PredictCall], heads: Heads, quick: bool) -> "dict[int, Packed | AdaptWork | Exception]":
    """Return the parameters of the tasks; of one that was pruned meanwhile, whose latest is wanted, a later one's."""
    keys = {
        i: TaskKey(calls[i].tenant, head.task_id, head.revision)
        for i, head in heads.items()
        if not isinstance(head, Exception)
    }
    if not keys:
        return {}
    return dict(zip(keys, params_of(calls[0].context, [*keys.values()], quick), strict=True))


def _by_task(
    call: PredictCall,
    request: PredictRequest,
    head: "Head | Exception",
    params: "Packed | AdaptWork | Exception",
    quick: bool,
) -> Prepared:
    if isinstance(head, Exception):
        raise head
    for _ in range(MAX_TRIES):
        if not isinstance(params, RevisionNotFound) or request.revision is not None:
            break
        head = call.context.store.heads([(call.tenant, head.task_id, None)], now=now())[0]
        if isinstance(head, Exception):
            raise head
        params = params_of(call.context, [TaskKey(call.tenant, head.task_id, head.revision)], quick)[0]
    if isinstance(params, Exception):
        raise params
    chosen = loaded_model(call.context, head.model, head.model_version, call.deadline)
    abstain_below = _abstain_below(request, chosen)
    inputs = _inputs(request, chosen, quick)
    known, again = (None, params) if isinstance(params, AdaptWork) else (params, None)
    return Prepared(chosen, head.task_id, head.revision, head.classes, inputs, known, again, abstain_below)


def _wanted(call: PredictCall, request: PredictRequest) -> Wanted:
    return wanted(call.tenant, request.model or call.context.settings.default_model)


def _stateless(call: PredictCall, request: PredictRequest, active: ActiveVersions, quick: bool) -> Prepared:
    assert request.support is not None
    context = call.context
    chosen = chosen_model(context, _wanted(call, request), call.deadline, active)
    settings = chosen_settings(request, chosen)
    abstain_below = _abstain_below(request, chosen)
    if quick and chosen.schema.card.input.kind != "vector" and holds_strings(request.support.inputs):
        raise TooSlow
    rows = support_rows(request.support, chosen.schema)
    work = adapt_work(chosen, as_support(rows, chosen.schema.card), settings, request)
    inputs = _inputs(request, chosen, quick)
    return Prepared(chosen, None, None, rows.classes, inputs, None, work, abstain_below)


def _inputs(request: PredictRequest, chosen: ChosenModel, quick: bool) -> Tensor:
    if quick and chosen.schema.card.input.kind != "vector" and holds_strings(request.inputs):
        raise TooSlow
    return query_inputs(request.inputs, chosen.schema)


def _abstain_below(request: PredictRequest, chosen: ChosenModel) -> float:
    if request.abstain_below is not None and chosen.schema.card.output.kind == "regression":
        raise SettingNotSupported(
            f"{chosen.schema.model} answers numbers, which have no probabilities; leave abstain_below out"
        )
    return request.abstain_below or 0.0
