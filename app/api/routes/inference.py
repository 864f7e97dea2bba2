"""`POST /adapt` and `POST /predict`."""

import time
from functools import partial
from typing import Any

import orjson
from fastapi import APIRouter, Request, Response

from app.api.adapting import adapt_task
from app.api.audit import asker_of
from app.api.batches import answers_of, bodies_of
from app.api.body import JSON, Body, checked_object, read_body, validated
from app.api.context import Context, InContext
from app.api.deadline import deadline_of
from app.api.forms import adapt_reader, body_media_type, predict_reader, takes_long, written
from app.api.gone import unless_gone
from app.api.idempotency import HEADER, REPLAYED_HEADER, answer_once, idempotency_key
from app.api.identity import Tenant
from app.api.openapi import IDEMPOTENCY_KEY, SAFETENSORS_TOO, TIMEOUT, json_body
from app.api.outcome import Caller
from app.api.predicting import answer_json, answer_of
from app.api.predicting import predict as predict_task
from app.api.routes.route import TenantRoute
from app.api.stages import LARGE_BODY_BYTES
from app.api.threads import in_thread
from app.trees import sha256
from innerloop.errors import InvalidIdempotencyKey
from innerloop.wire import AdaptAnswer, AdaptRequest, PredictAnswer, PredictRequest, Problem

MOST_INLINE = 10_000
"""Numbers that are written as JSON on the event loop: a thread of its own costs more than they do."""

router = APIRouter(tags=["inference"], route_class=TenantRoute)


@router.post(
    "/adapt",
    response_model=AdaptAnswer,
    status_code=201,
    responses={
        200: {"model": AdaptAnswer, "description": "Nothing was computed: the latest revision is the same"}
        | SAFETENSORS_TOO,
        201: SAFETENSORS_TOO,
    },
    openapi_extra=json_body(AdaptRequest, binary=True, headers=[TIMEOUT, IDEMPOTENCY_KEY]),
)
async def adapt(request: Request, context: InContext, tenant: Tenant) -> Response:
    """Adapt a model to a support set and keep the result under a task id."""
    started = time.monotonic()
    deadline = deadline_of(request, started)
    key = idempotency_key(request, context.limits.max_idempotency_key_chars)
    body = await read_body(request, context.limits.max_body_bytes, body_media_type(request))
    body_sha256 = await in_thread(sha256, body) if key else ""
    caller = Caller(tenant, started, deadline, key, body_sha256, asker=asker_of(request, context))
    read, is_large = adapt_reader(request, body, context.limits), takes_long(request, body)
    outcome, replayed = await answer_once(context, caller, lambda: adapt_task(context, caller, read, is_large=is_large))
    headers = {REPLAYED_HEADER: "true"} if replayed else {}
    if outcome.status == 201:
        headers["Location"] = f"/tasks/{outcome.answer['task_id']}"
    data, media_type = written(request, outcome.answer)
    return Response(data, outcome.status, headers, media_type)


@router.post(
    "/predict",
    response_model=PredictAnswer,
    responses={200: SAFETENSORS_TOO},
    openapi_extra=json_body(PredictRequest, binary=True, headers=[TIMEOUT]),
)
async def predict(request: Request, context: InContext, tenant: Tenant) -> Response:
    """Predict with an adapted task, or adapt and predict in one go with nothing stored."""
    started = time.monotonic()
    deadline = deadline_of(request, started)
    body = await read_body(request, context.limits.max_body_bytes, body_media_type(request))
    read, is_large = predict_reader(request, body, context.limits), takes_long(request, body)
    predicted = await unless_gone(request, predict_task(context, tenant, read, deadline, is_large=is_large))
    fields = answer_of(predicted, started)
    is_small = predicted.outputs.size <= MOST_INLINE
    data, media_type = written(request, fields) if is_small else await in_thread(written, request, fields)
    return Response(data, media_type=media_type)


@router.post(
    "/adapt/batch",
    response_model=list[AdaptAnswer | Problem],
    openapi_extra=json_body(AdaptRequest, many=True, headers=[TIMEOUT]),
)
async def adapt_batch(request: Request, context: InContext, tenant: Tenant) -> Response:
    """Adapt many tasks in one request; each is answered, stored or refused by itself, in the order of asking.

    Calls for the same task run one after the other. An Idempotency-Key is not taken.
    """
    started = time.monotonic()
    deadline = deadline_of(request, started)
    if HEADER in request.headers:
        raise InvalidIdempotencyKey(f"{HEADER} is not taken by {request.url.path}; send such calls to /adapt")
    bodies, are_large = await _bodies(request, context)
    caller = Caller(tenant, started, deadline, None, "", asker=asker_of(request, context))

    async def answer(body: Any) -> bytes:
        outcome = await adapt_task(context, caller, partial(_one, body, AdaptRequest), is_large=are_large)
        return orjson.dumps(outcome.answer)

    room = context.room_for_calls(tenant)
    with context.load.work(tenant, ("adapt/batch", len(bodies).bit_length()), is_of_many=True):
        return Response(await answers_of(bodies, answer, request, room), media_type=JSON)


@router.post(
    "/predict/batch",
    response_model=list[PredictAnswer | Problem],
    openapi_extra=json_body(PredictRequest, many=True, headers=[TIMEOUT]),
)
async def predict_batch(request: Request, context: InContext, tenant: Tenant) -> Response:
    """Predict with many tasks in one request; each is answered or refused by itself, in the order of asking."""
    started = time.monotonic()
    deadline = deadline_of(request, started)
    bodies, are_large = await _bodies(request, context)

    async def answer(body: Any) -> bytes:
        read = partial(_one, body, PredictRequest)
        predicted = await predict_task(context, tenant, read, deadline, is_large=are_large)
        if predicted.outputs.size <= MOST_INLINE:
            return answer_json(predicted, started)
        return await in_thread(answer_json, predicted, started)

    room = context.room_for_calls(tenant)
    with context.load.work(tenant, ("predict/batch", len(bodies).bit_length()), is_of_many=True):
        answers = answers_of(bodies, answer, request, room)
        return Response(await unless_gone(request, answers), media_type=JSON)


async def _bodies(request: Request, context: Context) -> tuple[list[Any], bool]:
    """Return the single bodies of a batch, and whether they are large."""
    body = await read_body(request, context.limits.max_body_bytes)
    bodies = await in_thread(bodies_of, body, context.limits.max_batch_requests)
    return bodies, len(body) > LARGE_BODY_BYTES * len(bodies)


def _one(body: Any, model: type[Body]) -> Body:
    return validated(checked_object(body, "the request"), model)
