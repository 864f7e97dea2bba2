"""What surrounds every request: its id, in and out, one log line, and an answer whatever happens."""

import re
import time

import structlog
from starlette.requests import ClientDisconnect, Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.api.problems import problem
from app.telemetry import REQUEST_ID, new_request_id
from innerloop.errors import InternalError

REQUEST_ID_HEADER = "X-Request-ID"
_NAME = REQUEST_ID_HEADER.lower().encode()
USABLE_ID = re.compile(r"[A-Za-z0-9._:/+=@-]{1,128}")
"""An id of the caller's that is safe in headers and log lines; any other is replaced by one of ours."""

CLIENT_CLOSED_REQUEST = 499
"""In the log alone: the caller went away before the request was read."""

log = structlog.get_logger()


class RequestIdMiddleware:
    """Gives each request an id, the caller's own where it is usable, and answers with it."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on; log its path, status and duration."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        request_id = _given_id(scope) or new_request_id()
        scope.setdefault("state", {})[REQUEST_ID] = request_id
        status, start = 0, time.monotonic()

        async def send_with_id(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = [*message.get("headers", ()), (_NAME, request_id.encode())]
            await send(message)

        try:
            await self.app(scope, receive, send_with_id)
        except ClientDisconnect:
            status = CLIENT_CLOSED_REQUEST  # nobody is left to answer
        except Exception as error:
            log.error("unforeseen error", exc_info=error, path=scope["path"], request_id=request_id)
            if not status:
                failure = InternalError("the service failed; its log has more under this request_id")
                await problem(Request(scope), failure)(scope, receive, send_with_id)
        finally:
            milliseconds = round((time.monotonic() - start) * 1e3, 2)
            log.info(
                "request",
                method=scope["method"],
                path=scope["path"],
                status=status,
                milliseconds=milliseconds,
                request_id=request_id,
            )


def _given_id(scope: Scope) -> str | None:
    """Return the caller's own id, where it is usable."""
    for name, value in scope["headers"]:
        if name == _NAME:
            given: str = value.decode("latin-1")
            return given if USABLE_ID.fullmatch(given) else None
    return None
