"""Names of log fields, the shape of log lines, and ids of requests."""

import asyncio
import atexit
import itertools
import logging
import secrets
import sys
import threading
from collections.abc import Mapping
from functools import cache
from typing import Any, Literal

import orjson
import structlog

from app.current_request import current_request_id

REQUEST_ID = "request_id"
_numbers = itertools.count(1)


def configure_logging(log_format: Literal["text", "json"], level: str) -> None:
    """Write log lines of `level` and above to standard error: readable, or one JSON object each.

    Lines of the standard library's `logging`, and Python's warnings, take the same shape. Each line that is written
    for a request, in whatever thread, has its id.
    """
    renderer: Any = structlog.processors.JSONRenderer(serializer=_json)
    if log_format == "text":
        renderer = _console(colors=True) if sys.stderr.isatty() else _PlainRenderer()
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            _with_request_id,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info if log_format == "json" else _unchanged,
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelNamesMapping()[level]),
        logger_factory=lambda *_: _LINES,
        # Assembled anew, a logger costs more than its line, and there is a line a request.
        cache_logger_on_first_use=True,
    )
    logging.basicConfig(level=logging.WARNING, handlers=[_FromLogging()])
    logging.captureWarnings(True)


def new_request_id() -> str:
    """Return an id for a request that came without one: no other process gives it, and this one only once.

    Counted and not drawn: asking the system for random numbers lets go of the interpreter, and costs a busy event loop
    more than anything else that it does for a request.
    """
    return f"{_process_id()}{next(_numbers):012x}"


def request_id_of(scope: Mapping[str, Any]) -> str:
    """Return the id of the request that an ASGI scope belongs to."""
    return str(scope.get("state", {}).get(REQUEST_ID, ""))


class _FromLogging(logging.Handler):
    """Writes what libraries log."""

    def emit(self, record: logging.LogRecord) -> None:
        try:
            fields: dict[str, Any] = {"logger": record.name}
            if record.exc_info:
                fields["exc_info"] = record.exc_info
            structlog.get_logger().log(record.levelno, record.getMessage(), **fields)
        except Exception:  # noqa: BLE001 -- as the standard library's own handlers do
            self.handleError(record)


def _with_request_id(logger: Any, method: str, event: Any) -> Any:
    if REQUEST_ID not in event:
        request_id = current_request_id()
        if request_id:
            event[REQUEST_ID] = request_id
    return event


def _unchanged(logger: Any, method: str, event: Any) -> Any:
    return event


@cache
def _process_id() -> str:
    return secrets.token_hex(10)


class _Lines:
    """Writes lines to standard error; those that one turn of an event loop makes, together.

    Each write lets go of the interpreter, and a busy event loop then waits for it longer than the line took.
    """

    def __init__(self) -> None:
        self._guard = threading.RLock()
        self._waiting: list[str] = []

    def msg(self, line: str) -> None:
        """Write a line, at once where no event loop runs."""
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            loop = None
        with self._guard:
            self._waiting.append(line)
            is_first = len(self._waiting) == 1
        if loop is None:
            self.write()
        elif is_first:
            loop.call_soon(self.write)

    debug = info = msg

    def now(self, line: str) -> None:
        """Write a line at once, and all that wait before it."""
        with self._guard:
            self._waiting.append(line)
        self.write()

    warning = warn = error = exception = critical = fatal = now

    def write(self) -> None:
        """Write what waits."""
        with self._guard:
            lines, self._waiting = self._waiting, []
            if lines:
                print("\n".join(lines), file=sys.stderr, flush=True)


_LINES = _Lines()
atexit.register(_LINES.write)


def _console(*, colors: bool) -> structlog.dev.ConsoleRenderer:
    """Return a renderer whose traces are without local variables: keys and rows of callers are among them."""
    return structlog.dev.ConsoleRenderer(colors=colors, exception_formatter=structlog.dev.plain_traceback)


class _PlainRenderer:
    """Renders a line for files and pipes, ten times faster than the one that pads and colours."""

    def __init__(self) -> None:
        self._with_trace = _console(colors=False)

    def __call__(self, logger: Any, method: str, event: Any) -> str:
        if "exc_info" in event:
            return str(self._with_trace(logger, method, event))
        head = f"{event.pop('timestamp', '')} [{event.pop('level', method)}] {event.pop('event', '')}"
        return " ".join([head, *(f"{name}={value}" for name, value in event.items())])


def _json(line: Any, **options: Any) -> str:
    """Return a line as JSON; what has no form in JSON as its text."""
    return orjson.dumps(line, default=str, option=orjson.OPT_NON_STR_KEYS).decode()
