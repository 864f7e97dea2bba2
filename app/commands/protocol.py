"""HTTP on a connection: uvicorn's protocol, with what the service adds."""

import asyncio
import json
import resource
from collections import OrderedDict
from functools import cache
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from app.api.gone import GONE
from app.api.middleware import REQUEST_ID_HEADER
from app.api.problems import PROBLEM, problem_document
from app.telemetry import new_request_id
from innerloop.errors import BadRequest

HEAD_SECONDS = 10.0
"""A request's line and headers are there within this time, or the connection is somebody else's."""
MAX_HEAD_BYTES = 64 * 1024
"""Of a request's line and headers; of what chunks say beside their bytes, and of trailers."""
MAX_HEADERS = 128
BYTES_AROUND_A_BYTE = 8
"""A chunk of one byte has five around it."""
MAX_CONNECTIONS = 10_000
MAX_LOOKED_AT = 100
"""Connections that are looked at to make room for one: each takes a third of a microsecond of all callers."""


@cache
def max_connections() -> int:
    """Return how many connections are held at once: files that a process may open, but for those of its own."""
    return min(MAX_CONNECTIONS, resource.getrlimit(resource.RLIMIT_NOFILE)[0] * 3 // 4)


def _nothing() -> None:
    """Do nothing: few requests want to know that their caller is gone."""


class ProblemProtocol(HttpToolsProtocol):
    """Answers what is not HTTP with a problem document too; the head of an answer leaves with its body.

    A head has bounds in time, bytes and number, so that nobody is kept by callers who never finish one, and who waits
    longest for the next byte of a caller makes room for new ones.
    """

    _head_timer: asyncio.TimerHandle | None = None
    _in_head = False
    _num_around = 0
    """Bytes since the request began that are not of its body, less what chunks may take."""
    _refusal: str | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin a connection."""
        self._silent_longest: OrderedDict[ProblemProtocol, None]
        """The server's connections, those first whose callers have said nothing for longest."""
        self._silent_longest = vars(self.server_state).setdefault("silent_longest", OrderedDict())
        self._make_room(len(self._silent_longest) + 1 - max_connections())
        self._silent_longest[self] = None
        super().connection_made(_JoiningTransport(transport, self.loop))  # type: ignore[arg-type]
        self._begin_waiting()

    def connection_lost(self, exc: Exception | None) -> None:
        """End a connection."""
        self._silent_longest.pop(self, None)
        self._end_waiting()
        super().connection_lost(exc)
        if self._answers:
            self.cycle.scope["state"].get(GONE, _nothing)()

    def data_received(self, data: bytes) -> None:
        """Parse what came; close the connection where a head grows without end."""
        if self in self._silent_longest:
            self._silent_longest.move_to_end(self)
        self._num_around += len(data)
        super().data_received(data)
        if self._num_around > MAX_HEAD_BYTES and not self.transport.is_closing():
            self._refuse(f"more than {MAX_HEAD_BYTES} bytes of request line and headers")
        if self._waits_for_head:
            if self._head_timer is None and self.timeout_keep_alive_task is None:
                self._begin_waiting()
        elif self._head_timer is not None:
            self._end_waiting()

    def on_message_begin(self) -> None:
        """Begin a request."""
        self._in_head, self._num_around = True, 0
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        """Start to answer a request."""
        self._in_head = False
        if len(self.headers) > MAX_HEADERS:
            self._refusal = f"{len(self.headers)} headers; at most {MAX_HEADERS} are taken"
            raise ValueError(self._refusal)  # the parser stops, and its owner calls send_400_response
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        """Take bytes of a body."""
        self._num_around = max(0, self._num_around - len(body) * (1 + BYTES_AROUND_A_BYTE))
        super().on_body(body)

    @property
    def _answers(self) -> bool:
        return self.cycle is not None and not self.cycle.response_complete

    @property
    def _waits_for_head(self) -> bool:
        return self._in_head or not self._answers

    def _begin_waiting(self) -> None:
        self._head_timer = self.loop.call_later(HEAD_SECONDS, self._waited)

    def _end_waiting(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None

    def _waited(self) -> None:
        """Close a connection whose request did not come; while an earlier one is answered, wait on."""
        if self._answers:
            self._begin_waiting()
        elif not self.transport.is_closing():
            if self._in_head:
                self._refuse(f"no whole request line and headers within {HEAD_SECONDS:g} s")
            else:
                self.transport.close()

    def _make_room(self, number: int) -> None:
        """Close so many connections, those that waited longest for their callers, where they are soon found.

        Those that wait for us go behind the others, so that the next one to make room looks further.
        """
        num_left = min(MAX_LOOKED_AT, len(self._silent_longest))
        while number > 0 and num_left > 0:
            num_left -= 1
            one = next(iter(self._silent_longest))
            if one._waits_for_caller:
                del self._silent_longest[one]
                one.transport.abort()
                number -= 1
            else:
                self._silent_longest.move_to_end(one)

    @property
    def _waits_for_caller(self) -> bool:
        return not self.transport.is_closing() and (not self._answers or self.cycle.more_body)

    def _refuse(self, why: str) -> None:
        self._refusal = why
        if self._answers and self.cycle.response_started:
            self.transport.close()
        else:
            self.send_400_response(why)

    def send_400_response(self, msg: str) -> None:
        """Write the answer and close the connection."""
        request_id = new_request_id()
        document = problem_document(BadRequest(self._refusal or f"this is not HTTP/1.1: {msg}"), request_id)
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
