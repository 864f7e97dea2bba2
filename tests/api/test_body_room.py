"""Bodies on their way: bounded in sum, half of the room left to other tenants, and given back."""

import asyncio
import socket
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from app.api.body_room import FREE_BYTES, BodyRoom
from innerloop.errors import Overloaded
from tests.api.asking import adapt, sine
from tests.api.service import Service, start_service

MIB = 1024 * 1024


def test_small_bodies_are_free_and_large_ones_are_counted_as_they_grow() -> None:
    room = BodyRoom(MIB)
    with room.reading("a", of_several=False) as grow:
        grow(FREE_BYTES)
        assert room.num_bytes == 0
        grow(FREE_BYTES + 1000)
        grow(FREE_BYTES + 3000)
        assert room.num_bytes == 3000
    assert room.num_bytes == 0


def test_beyond_the_room_a_body_is_refused_and_what_it_held_is_given_back() -> None:
    room = BodyRoom(MIB)
    with room.reading("a", of_several=False) as first:
        first(FREE_BYTES + 700_000)
        with room.reading("b", of_several=False) as second:
            second(FREE_BYTES + 300_000)
            with pytest.raises(Overloaded) as caught:
                second(FREE_BYTES + 400_000)
        assert caught.value.retry_after_seconds
        assert room.num_bytes == 700_000
    assert room.num_bytes == 0


def test_a_tenant_leaves_half_of_the_room_to_others() -> None:
    room = BodyRoom(MIB)
    with room.reading("a", of_several=True) as first:
        first(FREE_BYTES + MIB // 2)
        with room.reading("a", of_several=True) as more, pytest.raises(Overloaded):
            more(FREE_BYTES + 1)
        with room.reading("b", of_several=True) as second:
            second(FREE_BYTES + MIB // 2)
            assert room.num_bytes == MIB


@pytest.fixture
def small(tmp_path: Path) -> Iterator[Service]:
    """A service with room for 16 bodies of a megabyte."""
    service = start_service(tmp_path, max_body_bytes=MIB)
    yield service
    service.stop()


async def test_bodies_that_never_end_leave_the_service_to_others(small: Service) -> None:
    url = httpx.URL(small.url)
    head = b"POST /adapt HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 1000000\r\n\r\n"
    waiting = []
    for _ in range(40):
        connection = socket.create_connection((url.host, url.port or 80), timeout=20)
        connection.sendall(head + b" " * 900_000)
        waiting.append(connection)
    num_fitting = 16 * MIB // (900_000 - FREE_BYTES)
    for _ in range(200):
        answered = [connection for connection in waiting if _has_answer(connection)]
        if len(answered) >= 40 - num_fitting:
            break
        await asyncio.sleep(0.1)
    assert 40 - num_fitting <= len(answered) < 40
    assert {connection.recv(12) for connection in answered} == {b"HTTP/1.1 503"}
    adapt(small.http, support=sine(5))
    for connection in waiting:
        connection.close()
    await asyncio.sleep(0.5)
    large = b" " * 900_000 + b"{}"
    answer = small.http.post("/adapt", content=large, headers={"Content-Type": "application/json"})
    assert answer.status_code == 422  # read to its end


def _has_answer(connection: socket.socket) -> bool:
    connection.setblocking(False)
    try:
        return bool(connection.recv(1, socket.MSG_PEEK))
    except BlockingIOError:
        return False
    finally:
        connection.setblocking(True)
