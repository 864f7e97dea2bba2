"""A closed loop of callers over kept-alive connections: light enough that the service is what is measured."""

import asyncio
import gc
import itertools
import math
import time
from collections.abc import Iterator
from typing import NamedTuple, cast

import httptools
import numpy as np
import uvloop

Request = bytes
GIVE_UP_SECONDS, LONGEST_SECONDS = 60.0, 300.0
"""How long the last answers may take after the end; and what is the end where it is that of the requests."""
KEEP_EVERY = 16
"""Of each caller's answers that many are seen and one is kept."""


class Load(NamedTuple):
    """What a closed loop saw after its warm-up: the answers that came within the time measured."""

    per_second: float
    p50_ms: float
    p99_ms: float
    num_answers: int
    num_in_all: int
    """Answers, those before and after the time measured included."""
    num_errors: int
    """Of these, answers of another status than 200 and 201."""
    first_error: bytes
    """The body of one such answer."""
    answers: list[bytes]
    """Some of the bodies."""

    @property
    def tail(self) -> float:
        """How much longer the slowest hundredth waits than the median."""
        return self.p99_ms / self.p50_ms


def post(path: str, body: bytes, media_type: str = "application/json", headers: str = "") -> Request:
    """Return a whole HTTP/1.1 request; `headers` are lines that each end with CRLF."""
    head = f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: {media_type}\r\n{headers}"
    return f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body


def in_turn(requests: list[Request]) -> Iterator[Request]:
    """Return the same requests again and again."""
    return itertools.cycle(requests)


def closed_loop(
    port: int, requests: Iterator[Request], num_callers: int, seconds: float = math.inf, warm_up_seconds: float = 0.0
) -> Load:
    """Let each caller send its next request as soon as its last one is answered; blocks.

    It ends with the time, or without one with the requests. RuntimeError where nothing was answered within the time,
    what asyncio raises where a connection fails, TimeoutError where answers stay away.
    """
    gc.disable()  # a collection here would be latency there
    try:
        began, callers = uvloop.run(_loop(port, requests, num_callers, seconds, warm_up_seconds))
    finally:
        gc.enable()
    spans = np.array([span for caller in callers for span in caller.spans])
    num_errors = sum(caller.num_errors for caller in callers)
    first_error = next((caller.first_error for caller in callers if caller.num_errors), b"")
    if not len(spans):
        raise RuntimeError(f"no request was answered well; {num_errors} errors, such as {first_error[:500]!r}")
    p50_ms, p99_ms = np.percentile(spans, [50, 99]) * 1e3
    taken = max(caller.last for caller in callers) - began if math.isinf(seconds) else seconds
    answers = [answer for caller in callers for answer in caller.answers]
    num_in_all = sum(caller.num_in_all for caller in callers)
    rate = len(spans) / taken
    return Load(rate, float(p50_ms), float(p99_ms), len(spans), num_in_all, num_errors, first_error, answers)


async def _loop(
    port: int, requests: Iterator[Request], num_callers: int, seconds: float, warm_up_seconds: float
) -> tuple[float, list["_Caller"]]:
    loop = asyncio.get_running_loop()
    begin = time.perf_counter() + warm_up_seconds
    callers = []
    timeout = warm_up_seconds + min(seconds, LONGEST_SECONDS) + GIVE_UP_SECONDS
    try:
        async with asyncio.timeout(timeout):
            for _ in range(num_callers):
                caller = _Caller(requests, begin, begin + seconds, loop.create_future())
                await loop.create_connection(lambda made=caller: made, "127.0.0.1", port)  # type: ignore[misc]
                callers.append(caller)
            await asyncio.gather(*(caller.done for caller in callers))
    finally:
        for caller in callers:
            caller.leave()
    return begin, callers


class _Caller(asyncio.Protocol):
    """One connection; it parses answers with uvicorn's own parser, which costs a few microseconds."""

    def __init__(self, requests: Iterator[Request], begin: float, end: float, done: "asyncio.Future[None]") -> None:
        self._requests, self._begin, self._end = requests, begin, end
        self._parser = httptools.HttpResponseParser(self)
        self._body: list[bytes] = []
        self.done = done
        self.spans: list[float] = []
        self.answers: list[bytes] = []
        self.last = begin
        self.num_in_all = self.num_errors = 0
        self.first_error = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._send()

    def connection_lost(self, exc: Exception | None) -> None:
        if not self.done.done():
            self.done.set_exception(exc or ConnectionError("the service closed a connection"))

    def leave(self) -> None:
        self.done.cancel()
        self._transport.abort()

    def data_received(self, data: bytes) -> None:
        self._parser.feed_data(data)

    def on_body(self, body: bytes) -> None:
        self._body.append(body)

    def on_message_complete(self) -> None:
        now = time.perf_counter()
        self.num_in_all += 1
        if self._parser.get_status_code() not in (200, 201):
            self.num_errors += 1
            self.first_error = self.first_error or b"".join(self._body)
        elif self._begin <= now < self._end:
            self._note(now)
        if now >= self._end:
            self._finish()
        else:
            self._send()

    def _note(self, now: float) -> None:
        self.spans.append(now - self._began)
        self.last = now
        if len(self.spans) % KEEP_EVERY == 1:
            self.answers.append(b"".join(self._body))

    def _send(self) -> None:
        request = next(self._requests, None)
        if request is None:
            self._finish()
            return
        self._parser = httptools.HttpResponseParser(self)
        self._body = []
        self._began = time.perf_counter()
        self._transport.write(request)

    def _finish(self) -> None:
        self.done.set_result(None)
        self._transport.close()
