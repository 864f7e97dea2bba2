"""HTTP on a connection: uvicorn's protocol, with what the service adds."""

import asyncio
import json
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from app.api.middleware import REQUEST_ID_HEADER
from app.api.problems import PROBLEM, problem_document
from app.telemetry import new_request_id
from innerloop.errors import BadRequest


class ProblemProtocol(HttpToolsProtocol):
    """Answers what is not HTTP with a problem document too; the head of an answer leaves with its body."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin a connection."""
        super().connection_made(_JoiningTransport(transport, self.loop))  # type: ignore[arg-type]

    def send_400_response(self, msg: str) -> None:
        """Write the answer and close the connection."""
        request_id = new_request_id()
        document = problem_document(BadRequest(f"this is not HTTP/1.1: {msg}"), request_id)
        body = json.dumps(document).encode()
        head = (
            "HTTP/1.1 400 Bad Request\r\n"
            f"Content-Type: {PROBLEM}\r\nContent-Length: {len(body)}\r\n"
            f"{REQUEST_ID_HEADER}: {request_id}\r\nConnection: close\r\n\r\n"
        )
        self.transport.write(head.encode() + body)
        self.transport.close()


class _JoiningTransport:
    """A transport whose writes of one turn of the loop are one: a system call saved, and half of the packets."""

    def __init__(self, transport: asyncio.Transport, loop: asyncio.AbstractEventLoop) -> None:
        self._transport, self._loop = transport, loop
        self._waiting: list[bytes] = []
        self.get_extra_info, self.is_closing = transport.get_extra_info, transport.is_closing
        self.pause_reading, self.resume_reading = transport.pause_reading, transport.resume_reading

    def write(self, data: bytes) -> None:
        """Write soon."""
        self._waiting.append(data)
        if len(self._waiting) == 1:
            self._loop.call_soon(self._flush)

    def close(self) -> None:
        """Write what waits and close."""
        self._flush()
        self._transport.close()

    def __getattr__(self, name: str) -> Any:
        self._flush()
        return getattr(self._transport, name)

    def _flush(self) -> None:
        if self._waiting:
            data, self._waiting = b"".join(self._waiting), []
            self._transport.write(data)
