"""Names of log fields, the shape of log lines, and ids of requests."""

import asyncio
import atexit
import itertools
import json
import logging
import re
import secrets
import sys
import threading
from collections.abc import Mapping
from functools import cache
from typing import Any, Literal

import orjson
import structlog

from app.bearer_keys import masked
from app.current_request import current_request_id

REQUEST_ID = "request_id"
_numbers = itertools.count(1)
_PLAIN_VALUE, _PLAIN_EVENT = re.compile(r"[!#-<>-\[\]-~]+"), re.compile(r"[ !#-<>-\[\]-~]+")
"""Text that stands in a line as it is: printable ASCII without quotes, = and \\; spaces in what happened alone."""


def configure_logging(log_format: Literal["text", "json"], level: str) -> None:
    """Write log lines of `level` and above to standard error: readable, or one JSON object each.

    Lines of the standard library's `logging`, and Python's warnings, take the same shape. Each line that is written
    for a request, in whatever thread, has its id. No line has a key: of what looks like one, its id is left.
    """
    renderer: Any = structlog.processors.JSONRenderer(serializer=_json)
    if log_format == "text":
        renderer = coloured_line if sys.stderr.isatty() else text_line
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            _with_request_id,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
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
            self._waiting.append(masked(line))
            is_first = len(self._waiting) == 1
        if loop is None:
            self.write()
        elif is_first:
            loop.call_soon(self.write)

    debug = info = msg

    def now(self, line: str) -> None:
        """Write a line at once, and all that wait before it."""
        with self._guard:
            self._waiting.append(masked(line))
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


def text_line(logger: Any, method: str, event: Any) -> str:
    """Render a line for files and pipes, ten times faster than the renderer that pads and colours.

    What callers send can neither end a line nor make a field: a value that is not plain text is a JSON string.
    """
    trace = event.pop("exception", None)
    head = f"{event.pop('timestamp', '')} [{event.pop('level', method)}] {_event(event.pop('event', ''))}"
    texts = [str(value) for value in event.values()]
    if not _PLAIN_VALUE.fullmatch("".join(texts)) or "" in texts:  # a look at each takes longer than the rest
        texts = [_value(text) for text in texts]
    line = " ".join([head, *map("=".join, zip(event, texts, strict=True))])
    return line if trace is None else f"{line}\n{_trace(trace)}"


def coloured_line(logger: Any, method: str, event: Any) -> str:
    """Render a line for a terminal, with the same text as others have."""
    shown: dict[str, Any] = {name: _AsItIs(_value(value)) for name, value in event.items()}
    if "level" in event:
        shown["level"] = event["level"]
    if "event" in event:
        shown["event"] = _event(event["event"])
    if "exception" in event:
        shown["exception"] = _trace(event["exception"])
    return str(_in_colours()(logger, method, shown))


@cache
def _in_colours() -> structlog.dev.ConsoleRenderer:
    return structlog.dev.ConsoleRenderer(exception_formatter=structlog.dev.plain_traceback)


class _AsItIs:
    """Text that structlog, which has quotes of its own for some, leaves as it is."""

    def __init__(self, text: str) -> None:
        self._text = text

    def __repr__(self) -> str:
        return self._text


def _value(value: Any) -> str:
    text = str(value)
    return text if _PLAIN_VALUE.fullmatch(text) else _quoted(text)


def _event(event: Any) -> str:
    text = str(event)
    return text if _PLAIN_EVENT.fullmatch(text) else _quoted(text)


def _quoted(text: str) -> str:
    """Return a text as a JSON string of printable ASCII."""
    return json.dumps(text).replace("\x7f", "\\u007f")


def _trace(text: str) -> str:
    """Return a trace below its line: indented, so that no text in it looks like a line, and printable."""
    return "\n".join(f"    {line}" if line.isprintable() else f"    {_quoted(line)[1:-1]}" for line in text.split("\n"))


def _json(line: Any, **options: Any) -> str:
    """Return a line as JSON; what has no form in JSON as its text."""
    return orjson.dumps(line, default=str, option=orjson.OPT_NON_STR_KEYS).decode()
