"""`infer`, from a request to its answer."""

import time

from fastapi import Request, Response

from app.api.body import JSON, read_bytes
from app.api.context import Context
from app.api.deadline import deadline_of
from app.api.gone import unless_gone
from app.api.inference_protocol.answers import infer_answer
from app.api.inference_protocol.requests import InferRequest, infer_request
from app.api.inference_protocol.statistics import Durations
from app.api.predicting import Predicted, predict
from app.api.stages import LARGE_BODY_BYTES
from app.api.threads import in_thread
from app.engine.engine import TaskKey
from innerloop.errors import InnerloopError
from innerloop.wire import PredictRequest

HEADER_LENGTH = "Inference-Header-Content-Length"
OCTETS = "application/octet-stream"
MOST_INLINE = 10_000
"""Numbers that are written on the event loop: a thread of its own costs more than they do."""


async def infer_task(request: Request, context: Context, tenant: str, task_id: str, revision: int | None) -> Response:
    """Return the answer to an `infer` request, the latest revision's for None, and count it."""
    started = time.monotonic()
    try:
        predicted, answer = await _answered(request, context, tenant, task_id, revision)
    except InnerloopError:
        context.statistics.failed(tenant, task_id, revision, _ns(time.monotonic() - started))
        raise
    durations = Durations(
        total=_ns(time.monotonic() - started),
        queue=_ns(predicted.queue_ms / 1e3),
        compute=_ns(predicted.compute_ms / 1e3),
    )
    assert predicted.revision is not None
    context.statistics.answered(TaskKey(tenant, task_id, predicted.revision), len(predicted.outputs), durations)
    return answer


async def _answered(
    request: Request, context: Context, tenant: str, task_id: str, revision: int | None
) -> tuple[Predicted, Response]:
    deadline = deadline_of(request, time.monotonic())
    body = await read_bytes(request, context.limits.max_body_bytes)
    header_length = request.headers.get(HEADER_LENGTH)
    asked: list[InferRequest] = []

    def read() -> PredictRequest:
        """Parse in the stage where all bodies are parsed, and keep what only the answer needs."""
        asked.append(infer_request(body, header_length, context.limits))
        return asked[-1].prediction(task_id, revision)

    prediction = predict(context, tenant, read, deadline, is_large=len(body) > LARGE_BODY_BYTES)
    predicted = await unless_gone(request, prediction)
    if predicted.outputs.size <= MOST_INLINE:
        data, header_bytes = infer_answer(predicted, asked[-1])
    else:
        data, header_bytes = await in_thread(infer_answer, predicted, asked[-1])
    if header_bytes is None:
        return predicted, Response(data, media_type=JSON)
    return predicted, Response(data, headers={HEADER_LENGTH: str(header_bytes)}, media_type=OCTETS)


def _ns(seconds: float) -> int:
    return int(seconds * 1e9)
