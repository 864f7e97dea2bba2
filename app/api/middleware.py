"""What surrounds every request: its id, in and out, a log line, counts, a trace, and an answer whatever happens."""

import re
import time

import structlog
from starlette.requests import ClientDisconnect, Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.api.identity import LEFT, SLOT, STATE
from app.api.problems import UNFORESEEN, problem
from app.api.request_counts import RequestCounts, route_of
from app.api.tenant_limits import Slot
from app.api.tracing import Tracing
from app.bearer_keys import holds_key
from app.current_request import collect_stage_times, enter, leave
from app.store import Identity
from app.telemetry import REQUEST_ID, new_request_id
from innerloop.errors import InternalError

REQUEST_ID_HEADER = "X-Request-ID"
_NAME = REQUEST_ID_HEADER.lower().encode()
USABLE_ID = re.compile(r"[A-Za-z0-9._:/+=@-]{1,128}")
"""An id of the caller's that is safe in headers and log lines; any other, or a key, is replaced by one of ours."""

CLIENT_CLOSED_REQUEST = 499
"""In the log alone: the caller went away before the request was read."""

log = structlog.get_logger()


class RequestIdMiddleware:
    """Gives each request an id, the caller's own where it is usable, and answers with it."""

    def __init__(self, app: ASGIApp, counts: RequestCounts, tracing: Tracing | None = None) -> None:
        self.app, self._counts, self._tracing = app, counts, tracing

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on; log and count its path, status and duration."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        request_id = _given_id(scope) or new_request_id()
        scope.setdefault("state", {})[REQUEST_ID] = request_id
        entered = enter(request_id)
        times = collect_stage_times() if self._tracing else None
        self._counts.begin()
        status, start = 0, time.monotonic()

        async def send_with_id(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                of_tenant = scope["state"].get(LEFT, ())
                message["headers"] = [*message.get("headers", ()), *of_tenant, (_NAME, request_id.encode())]
            await send(message)

        try:
            await self.app(scope, receive, send_with_id)
        except ClientDisconnect:
            status = CLIENT_CLOSED_REQUEST  # nobody is left to answer
        except Exception as error:
            log.error("unforeseen error", exc_info=error, path=scope["path"], request_id=request_id)
            if not status:
                failure = InternalError(UNFORESEEN)
                await problem(Request(scope), failure)(scope, receive, send_with_id)
        finally:
            slot: Slot | None = scope["state"].get(SLOT)
            if slot:
                slot.leave()
            seconds = time.monotonic() - start
            route = route_of(scope)
            self._counts.end(scope["method"], route, status, seconds)
            if self._tracing and times:
                self._tracing.ended(scope, times, request_id=request_id, route=route, status=status, started=start)
            log.info(
                "request",
                method=scope["method"],
                path=scope["path"],
                status=status,
                milliseconds=round(seconds * 1e3, 2),
                **_asker(scope),
                request_id=request_id,
            )
            leave(entered)


def _asker(scope: Scope) -> dict[str, str]:
    """Return whose request it was, by which key; nothing where no key is needed, or none was good."""
    identity: Identity | None = scope["state"].get(STATE)
    return {} if identity is None else {"tenant": identity.tenant, "key_id": str(identity.key_id)}


def _given_id(scope: Scope) -> str | None:
    """Return the caller's own id, where it is usable."""
    for name, value in scope["headers"]:
        if name == _NAME:
            given: str = value.decode("latin-1")
            return given if USABLE_ID.fullmatch(given) and not holds_key(given) else None
    return None
