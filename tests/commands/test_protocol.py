"""Which connection makes room for a new one, and how many are looked at to find it."""

import asyncio
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

import pytest
from uvicorn import Config
from uvicorn.server import ServerState

from app.commands import protocol
from app.commands.protocol import MAX_LOOKED_AT, ProblemProtocol

REQUEST = b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n"
HALF_A_BODY = b"POST /adapt HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n{"


async def never_answers(
    scope: MutableMapping[str, Any],
    receive: Callable[[], Awaitable[MutableMapping[str, Any]]],
    send: Callable[[MutableMapping[str, Any]], Awaitable[None]],
) -> None:
    await asyncio.Event().wait()


class Line(asyncio.Transport):
    """The service's end of a connection of which nothing is ever read."""

    def __init__(self) -> None:
        super().__init__()
        self.is_cut = False

    def write(self, data: Any) -> None:
        """Forget it."""

    def is_closing(self) -> bool:
        return self.is_cut

    def abort(self) -> None:
        self.is_cut = True

    def close(self) -> None:
        self.is_cut = True

    def pause_reading(self) -> None:
        """Go on all the same."""

    def resume_reading(self) -> None:
        """Go on all the same."""


class Server:
    """Connections of one server; none of its requests is ever answered."""

    def __init__(self) -> None:
        self._config, self._state = Config(never_answers, http=ProblemProtocol, ws="none"), ServerState()
        self.ends: list[tuple[ProblemProtocol, Line]] = []

    def connect(self, said: bytes = b"") -> Line:
        connection, line = ProblemProtocol(self._config, self._state, {}), Line()
        connection.connection_made(line)
        self.ends.append((connection, line))
        if said:
            connection.data_received(said)
        return line

    def say(self, line: Line, data: bytes) -> None:
        next(connection for connection, other in self.ends if other is line).data_received(data)

    def lose(self, line: Line) -> None:
        next(connection for connection, other in self.ends if other is line).connection_lost(None)

    async def end(self) -> None:
        for task in list(self._state.tasks):
            task.cancel()
        for connection, _ in self.ends:
            connection._end_waiting()
        await asyncio.sleep(0)


@pytest.fixture
def room_for_four(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(protocol, "max_connections", lambda: 4)


@pytest.mark.usefixtures("room_for_four")
async def test_who_has_been_silent_for_longest_makes_room() -> None:
    server = Server()
    first, second, third, fourth = (server.connect() for _ in range(4))
    server.say(first, b"GET /hea")
    server.connect()
    assert [line.is_cut for line in (first, second, third, fourth)] == [False, True, False, False]
    server.connect()
    server.connect()
    assert [line.is_cut for line in (first, second, third, fourth)] == [False, True, True, True]
    server.connect()
    assert first.is_cut
    await server.end()


@pytest.mark.usefixtures("room_for_four")
async def test_who_waits_for_an_answer_is_not_closed_for_one_who_says_nothing() -> None:
    server = Server()
    asking = [server.connect(REQUEST) for _ in range(3)]
    idle = server.connect()
    server.connect()
    assert idle.is_cut
    assert not any(line.is_cut for line in asking)
    await server.end()


@pytest.mark.usefixtures("room_for_four")
async def test_half_a_body_makes_room_too_and_where_all_wait_for_us_nobody_is_closed() -> None:
    server = Server()
    asking = [server.connect(REQUEST) for _ in range(3)]
    half = server.connect(HALF_A_BODY)
    more = server.connect(REQUEST)
    assert half.is_cut
    last = server.connect(REQUEST)
    assert not any(line.is_cut for line in [*asking, more, last])
    await server.end()


@pytest.mark.usefixtures("room_for_four")
async def test_what_was_closed_by_itself_is_no_connection_any_more() -> None:
    server = Server()
    lines = [server.connect() for _ in range(4)]
    server.lose(lines[2])
    server.connect()
    assert not any(line.is_cut for line in lines[:2])
    assert not lines[3].is_cut
    await server.end()


async def test_few_are_looked_at_however_many_there_are(monkeypatch: pytest.MonkeyPatch) -> None:
    """A thousand streams are open, the oldest of all; behind them, one caller says nothing and is found in time."""
    monkeypatch.setattr(protocol, "max_connections", lambda: 1_001)
    server = Server()
    streams = [server.connect(REQUEST) for _ in range(1_000)]
    idle = server.connect()
    looked_at = 0
    real: property = vars(ProblemProtocol)["_waits_for_caller"]

    def counted(one: ProblemProtocol) -> bool:
        nonlocal looked_at
        looked_at += 1
        return bool(real.__get__(one))

    monkeypatch.setattr(ProblemProtocol, "_waits_for_caller", property(counted))
    for _ in range(1_000 // MAX_LOOKED_AT + 1):
        before = looked_at
        server.connect(REQUEST)
        assert looked_at - before <= MAX_LOOKED_AT
    assert idle.is_cut
    assert not any(line.is_cut for line in streams)
    await server.end()


async def test_once_room_is_found_as_much_is_made_as_is_over(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(protocol, "max_connections", lambda: 2)
    server = Server()
    for _ in range(5):
        server.connect(REQUEST)
    monkeypatch.setattr(protocol, "max_connections", lambda: 8)
    idle = [server.connect() for _ in range(3)]
    monkeypatch.setattr(protocol, "max_connections", lambda: 6)
    server.connect()
    assert [line.is_cut for line in idle] == [True, True, True]
    await server.end()
