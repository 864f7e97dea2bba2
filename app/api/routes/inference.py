"""`POST /adapt` and `POST /predict`."""

import math
import re
import time

from anyio import to_thread
from fastapi import APIRouter, Request, Response
from fastapi.responses import JSONResponse

from app.api.adapting import adapt_task
from app.api.body import parsed, read_body
from app.api.context import InContext, Tenant
from app.api.idempotency import REPLAYED_HEADER, answer_once, idempotency_key
from app.api.openapi import json_body
from app.api.outcome import Caller, Outcome
from app.api.predicting import predict as predicted
from app.trees import sha256
from innerloop.errors import BadRequest
from innerloop.wire import AdaptAnswer, AdaptRequest, PredictAnswer, PredictRequest

TIMEOUT_HEADER = "X-Request-Timeout-Ms"
MAX_TIMEOUT_MS = 86_400_000
MILLISECONDS = re.compile(r"[0-9]{1,9}(\.[0-9]{1,9})?", re.ASCII)

router = APIRouter(tags=["inference"])


@router.post(
    "/adapt",
    response_model=AdaptAnswer,
    status_code=201,
    responses={200: {"model": AdaptAnswer, "description": "Nothing was computed: the latest revision is the same"}},
    openapi_extra=json_body(AdaptRequest),
)
async def adapt(request: Request, context: InContext, tenant: Tenant) -> Response:
    """Adapt a model to a support set and keep the result under a task id."""
    started = time.monotonic()
    deadline = _deadline(request, started)
    key = idempotency_key(request, context.limits.max_idempotency_key_chars)
    body = await read_body(request, context.limits.max_body_bytes)
    caller = Caller(tenant, started, deadline, key, await to_thread.run_sync(sha256, body) if key else "")

    async def compute() -> Outcome:
        return await adapt_task(context, caller, await to_thread.run_sync(parsed, body, AdaptRequest))

    outcome, replayed = await answer_once(context, caller, compute)
    headers = {REPLAYED_HEADER: "true"} if replayed else {}
    if outcome.status == 201:
        headers["Location"] = f"/tasks/{outcome.answer['task_id']}"
    return JSONResponse(outcome.answer, outcome.status, headers)


@router.post("/predict", response_model=PredictAnswer, openapi_extra=json_body(PredictRequest))
async def predict(request: Request, context: InContext, tenant: Tenant) -> Response:
    """Predict with an adapted task, or adapt and predict in one go with nothing stored."""
    started = time.monotonic()
    deadline = _deadline(request, started)
    body = await read_body(request, context.limits.max_body_bytes)
    wanted = await to_thread.run_sync(parsed, body, PredictRequest)
    answer = await predicted(context, tenant, wanted, started, deadline)
    return Response(answer, media_type="application/json")


def _deadline(request: Request, started: float) -> float | None:
    """Return the moment of time.monotonic() until which the caller waits; BadRequest for a header that is no number."""
    text = request.headers.get(TIMEOUT_HEADER)
    if text is None:
        return None
    milliseconds = float(text) if MILLISECONDS.fullmatch(text) else math.nan
    if not 0 < milliseconds <= MAX_TIMEOUT_MS:
        raise BadRequest(f"{TIMEOUT_HEADER} is {text!r}; milliseconds over 0 and up to {MAX_TIMEOUT_MS} are expected")
    return started + milliseconds / 1e3
