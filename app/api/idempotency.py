"""`Idempotency-Key`: the same key and body give the same answer, also after a restart."""

from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager

from fastapi import Request

from app.api.context import Context
from app.api.outcome import Caller, Outcome
from app.api.threads import in_thread
from app.bearer_keys import hashed, holds_key
from innerloop.errors import IdempotencyInFlight, IdempotencyKeyReused, InvalidIdempotencyKey

HEADER = "Idempotency-Key"
REPLAYED_HEADER = "Idempotency-Replayed"


def idempotency_key(request: Request, max_chars: int) -> str | None:
    """Return the request's key, None without one; InvalidIdempotencyKey when it is not usable."""
    given = request.headers.getlist(HEADER)
    if not given:
        return None
    key = given[0]
    if len(given) > 1 or not 1 <= len(key) <= max_chars or not (key.isascii() and key.isprintable()):
        raise InvalidIdempotencyKey(f"{HEADER} must be one header of 1 to {max_chars} printable ASCII characters")
    return hashed(key) if holds_key(key) else key  # it is stored, and a key of the service is not


async def answer_once(
    context: Context, caller: Caller, compute: Callable[[], Awaitable[Outcome]]
) -> tuple[Outcome, bool]:
    """Return the outcome, computed unless this key was answered before, and whether it was.

    Raises IdempotencyKeyReused for another body, IdempotencyInFlight while an equal request is under way.
    """
    if caller.idempotency_key is None:
        return await compute(), False
    with _under_way(context, caller):
        before = await in_thread(_stored, context, caller)
        if before is not None:
            return before, True
        try:
            return await compute(), False
        except IdempotencyInFlight:  # another replica was faster; ours was rolled back
            before = await in_thread(_stored, context, caller)
            if before is None:
                raise
            return before, True


@contextmanager
def _under_way(context: Context, caller: Caller) -> Iterator[None]:
    key = (caller.tenant, caller.route, caller.idempotency_key)
    if key in context.answering:
        raise IdempotencyInFlight(
            "a request with this Idempotency-Key is under way; ask again", retry_after_seconds=1.0
        )
    context.answering.add(key)
    try:
        yield
    finally:
        context.answering.discard(key)


def _stored(context: Context, caller: Caller) -> Outcome | None:
    assert caller.idempotency_key is not None
    found = context.store.idempotent_answer(caller.tenant, caller.route, caller.idempotency_key)
    if found is None:
        return None
    if found.body_sha256 != caller.body_sha256:
        raise IdempotencyKeyReused("this Idempotency-Key came with another body before; make a new key for new work")
    return Outcome(found.status, found.answer)
