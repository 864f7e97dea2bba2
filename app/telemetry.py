"""Names of log fields, the shape of log lines, and the id of a request."""

import logging
import sys
import uuid
from collections.abc import Mapping
from typing import Any, Literal

import structlog

REQUEST_ID = "request_id"


def configure_logging(log_format: Literal["text", "json"], level: str) -> None:
    """Write log lines of `level` and above to standard error: readable, or one JSON object each."""
    renderer: Any = (
        structlog.processors.JSONRenderer()
        if log_format == "json"
        else structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty())
    )
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info if log_format == "json" else _unchanged,
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelNamesMapping()[level]),
        logger_factory=structlog.PrintLoggerFactory(file=sys.stderr),
    )


def new_request_id() -> str:
    """Return an id for a request that came without one."""
    return uuid.uuid4().hex


def request_id_of(scope: Mapping[str, Any]) -> str:
    """Return the id of the request that an ASGI scope belongs to."""
    return str(scope.get("state", {}).get(REQUEST_ID, ""))


def _unchanged(logger: Any, method: str, event: Any) -> Any:
    return event
