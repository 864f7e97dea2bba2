"""Many calls in one request: each is a call of its own, answered in the order of asking."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Any

import orjson
import structlog
from fastapi import Request

from app.api.body import json_list
from app.api.problems import UNFORESEEN, counted_document
from app.current_request import current_stage_times
from app.telemetry import request_id_of
from innerloop.errors import InnerloopError, InternalError, InvalidRequest, TooManyRequestsInBatch

log = structlog.get_logger()

AnswerOne = Callable[[Any], Awaitable[bytes]]
"""(the JSON of a single body) -> the JSON of its answer."""


def bodies_of(body: bytes, max_requests: int) -> list[Any]:
    """Return the single bodies; NotJson, NotFinite, InvalidRequest, TooManyRequestsInBatch."""
    bodies = json_list(body)
    if not bodies:
        raise InvalidRequest("the body is an empty list; send at least one request")
    if len(bodies) > max_requests:
        raise TooManyRequestsInBatch(
            f"the body has {len(bodies)} requests; at most {max_requests} (max_batch_requests in GET /limits)"
        )
    return bodies


async def answers_of(
    bodies: Sequence[Any], answer: AnswerOne, request: Request, room: AbstractAsyncContextManager[Any]
) -> bytes:
    """Return the JSON list of answers, a problem document in the place of each call that failed.

    Each call is under way while it holds `room`, which it gets in the order of asking.
    """
    times = current_stage_times()
    if times is not None:
        times.num_tasks = len(bodies)
    answers = await asyncio.gather(*(_answer_or_problem(one, answer, request, room) for one in bodies))
    return b"[" + b",".join(answers) + b"]"


async def _answer_or_problem(
    one: Any, answer: AnswerOne, request: Request, room: AbstractAsyncContextManager[Any]
) -> bytes:
    try:
        async with room:
            return await answer(one)
    except InnerloopError as error:
        failure = error
    except Exception as error:
        log.error("unforeseen error", exc_info=error, request_id=request_id_of(request.scope))
        failure = InternalError(UNFORESEEN)
    return orjson.dumps(counted_document(request, failure))
