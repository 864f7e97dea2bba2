"""A job's events as server-sent events: replayed from the store, then followed as they come."""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Callable

from app.api.context import Context
from app.api.threads import in_thread
from app.api.training import ENDED, event_data
from app.store import JobEvent
from innerloop.errors import BadRequest

MEDIA_TYPE = "text/event-stream"
POLL_SECONDS = 0.5
KEEP_ALIVE_SECONDS = 15.0
"""A comment is sent after so much silence, so that nobody in between closes the connection."""
EVENTS_AT_ONCE = 500
ASK_AGAIN_SECONDS = 1.0
"""A stream lasts as long as a job: so often it is asked whether its caller is still welcome."""
MAX_EVENT_ID = 2**31 - 1


def last_event_id(text: str | None) -> int:
    """Return the id that a client saw last, 0 for none; BadRequest for one that no event has."""
    if not text:
        return 0
    if not (text.isascii() and text.isdigit() and len(text) < 11 and int(text) <= MAX_EVENT_ID):
        raise BadRequest(f"Last-Event-ID is {text[:32]!r}; the `id` of an event of this job is expected")
    return int(text)


async def event_stream(
    context: Context, tenant: str, job_id: str, after: int, may_stay: Callable[[], bool]
) -> AsyncIterator[str]:
    """Yield each event after `after` until the job has ended and all were told, or the service drains.

    It breaks off without an end once `may_stay`, which may block, says no.
    """
    spoke, ended = time.monotonic(), False
    asked = spoke
    while True:
        if time.monotonic() - asked >= ASK_AGAIN_SECONDS:
            asked = time.monotonic()
            if not await in_thread(may_stay):
                return
        last_look = ended or context.draining
        events = await in_thread(
            lambda after: context.store.job_events(tenant, job_id, after=after, limit=EVENTS_AT_ONCE), after
        )
        for event in events:
            after, spoke = event.event_id, time.monotonic()
            job = await in_thread(context.store.job, tenant, job_id) if event.kind == "end" else None
            yield _text(event, superseded=job is not None and job.last_event > after)
        if events:
            ended = False
            continue
        if last_look:
            return
        # What a job ended with was stored together with its end: one more look, and nothing is missed.
        ended = (await in_thread(context.store.job, tenant, job_id)).status in ENDED
        if ended:
            continue
        if time.monotonic() - spoke > KEEP_ALIVE_SECONDS:
            spoke = time.monotonic()
            yield ": still here\n\n"
        await asyncio.sleep(POLL_SECONDS)


def _text(event: JobEvent, *, superseded: bool) -> str:
    """Return an event's lines; the end of a job that was resumed since is one more status: a stream has one end."""
    kind = "status" if superseded else event.kind
    return f"id: {event.event_id}\nevent: {kind}\ndata: {json.dumps(event_data(event))}\n\n"
