"""The load generator counts every answer once, by its status, and tells what it did not get."""

import asyncio
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from benchmarks.load import KEEP_EVERY, Load, closed_loop, in_turn, post

Answer = Callable[[bytes], bytes]
REQUEST = post("/adapt", b'{"steps":5}')


class Answering(asyncio.Protocol):
    """Answers each request of one known length."""

    def __init__(self, answer: Answer, seen: list[bytes]) -> None:
        self.answer, self.seen, self.data = answer, seen, b""
        self.lost = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport

    def connection_lost(self, exc: Exception | None) -> None:
        self.lost.set_result(None)

    def data_received(self, data: bytes) -> None:
        self.data += data
        if len(self.data) < len(REQUEST):
            return
        self.seen.append(self.data)
        answer, self.data = self.answer(self.data), b""
        half = len(answer) // 2  # an answer may come in pieces
        self.transport.write(answer[:half])
        asyncio.get_running_loop().call_soon(self.rest, answer[half:])

    def rest(self, answer: bytes) -> None:
        self.transport.write(answer)
        if not answer:
            self.transport.close()


@contextmanager
def answering(answer: Answer) -> Iterator[tuple[int, list[bytes]]]:
    """Serve in a thread; gives the port and the requests as they come."""
    loop = asyncio.new_event_loop()
    seen: list[bytes] = []
    connections: list[Answering] = []

    def connected() -> Answering:
        connections.append(Answering(answer, seen))
        return connections[-1]

    async def start() -> asyncio.Server:
        return await loop.create_server(connected, "127.0.0.1", 0)

    async def close() -> None:
        server.close()
        await asyncio.gather(*(connection.lost for connection in connections))

    server = loop.run_until_complete(start())
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    try:
        yield server.sockets[0].getsockname()[1], seen
    finally:
        asyncio.run_coroutine_threadsafe(close(), loop).result(10)
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


def http(status: str, body: bytes) -> bytes:
    return f"HTTP/1.1 {status}\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body


def test_every_request_is_sent_once_and_every_answer_counted() -> None:
    with answering(lambda request: http("201 Created", b"{}")) as (port, seen):
        load = closed_loop(port, iter([REQUEST] * 103), num_callers=4)
    assert (load.num_answers, load.num_in_all, load.num_errors) == (103, 103, 0)
    assert seen == [REQUEST] * 103
    assert 0 < load.p50_ms <= load.p99_ms


def test_a_rate_is_answers_over_the_time_measured() -> None:
    with answering(lambda request: http("200 OK", b"{}")) as (port, seen):
        load = closed_loop(port, in_turn([REQUEST]), num_callers=3, seconds=0.2, warm_up_seconds=0.1)
    assert load.per_second == pytest.approx(load.num_answers / 0.2)
    assert load.num_answers < load.num_in_all == len(seen)


def test_errors_are_counted_apart_and_one_is_shown() -> None:
    answers = in_turn([http("201 Created", b"{}"), http("503 Service Unavailable", b"full")])
    with answering(lambda request: next(answers)) as (port, _):
        load = closed_loop(port, iter([REQUEST] * 10), num_callers=1)
    assert (load.num_answers, load.num_in_all, load.num_errors, load.first_error) == (5, 10, 5, b"full")


def test_nothing_but_errors_is_an_error() -> None:
    with (
        answering(lambda request: http("415 Unsupported", b"not taken")) as (port, _),
        pytest.raises(RuntimeError, match="3 errors, such as b'not taken'"),
    ):
        closed_loop(port, iter([REQUEST] * 3), num_callers=1)


def test_a_closed_connection_is_an_error() -> None:
    with answering(lambda request: b"") as (port, _), pytest.raises(ConnectionError):
        closed_loop(port, iter([REQUEST] * 3), num_callers=1)


def test_some_whole_answers_are_kept() -> None:
    numbers = iter(range(100))
    with answering(lambda request: http("200 OK", b"answer %d" % next(numbers))) as (port, _):
        load = closed_loop(port, iter([REQUEST] * 40), num_callers=1)
    assert load.answers == [b"answer %d" % number for number in range(0, 40, KEEP_EVERY)]


def test_the_tail_is_the_slowest_hundredth_over_the_median() -> None:
    assert Load(1.0, 2.0, 7.0, 1, 1, 0, b"", []).tail == 3.5
