"""Connections that are slow, endless, too many or not what HTTP allows: others are served all the while."""

import asyncio
import resource
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

import httpx
import pytest

from app.commands.protocol import HEAD_SECONDS, MAX_HEAD_BYTES, MAX_HEADERS
from innerloop.wire import Problem
from tests.api.asking import sine
from tests.api.service import Service, start_service
from tests.serving.test_serving_memory import resident_bytes

MIB = 1024 * 1024
SLACK_SECONDS = 15.0
"""Other things run on this machine too."""
PREDICT = b'{"task_id":"kept","inputs":[[0.5]]}'
HEAD = b"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
GET = b"GET /healthz HTTP/1.1\r\nHost: x\r\n"


@contextmanager
def serving(folder: Path, **settings: object) -> Iterator[Service]:
    running = start_service(folder, job_worker=0, **settings)
    running.http.post("/adapt", json={"task_id": "kept", "support": sine(5)}).raise_for_status()
    yield running
    assert not running.logged("unforeseen error")
    running.stop()


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    with serving(tmp_path_factory.mktemp("abuse") / "data") as running:
        yield running


class Connection:
    """A connection of somebody who does not keep to HTTP."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer

    async def send(self, data: bytes) -> bool:
        """Send, and tell whether the other side still takes it."""
        try:
            self._writer.write(data)
            await self._writer.drain()
        except ConnectionError:
            return False
        return True

    async def answer(self) -> tuple[int, bytes]:
        """Return status and body of the next answer."""
        async with asyncio.timeout(HEAD_SECONDS + SLACK_SECONDS):
            head = await self._reader.readuntil(b"\r\n\r\n")
            length = next(int(line[15:]) for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:"))
            return int(head.split()[1]), await self._reader.readexactly(length)

    async def rest(self) -> bytes:
        """Return all that comes until the other side closes."""
        async with asyncio.timeout(HEAD_SECONDS + SLACK_SECONDS):
            try:
                return await self._reader.read()
            except ConnectionError:
                return b""

    def close(self) -> None:
        self._writer.transport.abort()


@asynccontextmanager
async def connections(service: Service, number: int) -> AsyncIterator[list[Connection]]:
    url = httpx.URL(service.url)
    opened = [Connection(*await asyncio.open_connection(url.host, url.port)) for _ in range(number)]
    try:
        yield opened
    finally:
        for connection in opened:
            connection.close()
        await asyncio.sleep(0)


@asynccontextmanager
async def others_are_served(service: Service, at_least: int = 5) -> AsyncIterator[None]:
    """Predict on new connections and on a kept one, as long as the block runs: each answer is right."""
    done, number = asyncio.Event(), 0
    expected = service.http.post("/predict", content=PREDICT, headers={"Content-Type": "application/json"}).json()

    async def neighbour(kept: httpx.AsyncClient) -> None:
        nonlocal number
        while not done.is_set() or number < at_least:
            async with httpx.AsyncClient(base_url=service.url, timeout=30.0) as new:
                for http in (kept, new):
                    answer = await http.post("/predict", json={"task_id": "kept", "inputs": [[0.5]]})
                    assert answer.status_code == 200, answer.text
                    assert abs(answer.json()["outputs"][0][0] - expected["outputs"][0][0]) < 1e-5
            number += 1
            await asyncio.sleep(0.05)

    async with httpx.AsyncClient(base_url=service.url, timeout=30.0) as kept:
        asking = asyncio.create_task(neighbour(kept))
        try:
            yield
        finally:
            done.set()
            await asking


def num_files(service: Service) -> int:
    """Return how many files the process has open, connections among them."""
    return len(list(Path(f"/proc/{service.process.pid}/fd").iterdir()))


def refused(status: int, body: bytes, said: str) -> None:
    """Hold an answer against what is said of a request that cannot be read."""
    problem = Problem.model_validate_json(body)
    assert (status, problem.status, problem.code) == (400, 400, "bad-request")
    assert said in problem.detail


async def test_chunks_of_one_byte_make_a_request_like_any_other(service: Service) -> None:
    async with others_are_served(service), connections(service, 20) as slow:
        for connection in slow:
            await connection.send(HEAD + b"Transfer-Encoding: chunked\r\n\r\n")
        for byte in PREDICT:
            for connection in slow:
                assert await connection.send(b"1\r\n" + bytes([byte]) + b"\r\n")
        for connection in slow:
            await connection.send(b"0\r\n\r\n")
        for connection in slow:
            status, body = await connection.answer()
            assert (status, b'"outputs"' in body) == (200, True)


async def test_a_megabyte_in_chunks_of_one_byte_is_taken(service: Service) -> None:
    body = PREDICT + b" " * (MIB - len(PREDICT))
    packets = b"".join(b"1\r\n" + bytes([byte]) + b"\r\n" for byte in body) + b"0\r\n\r\n"
    async with others_are_served(service), connections(service, 1) as (slow,):
        assert await slow.send(HEAD + b"Transfer-Encoding: chunked\r\n\r\n" + packets)
        assert (await slow.answer())[0] == 200


async def test_headers_that_come_for_ever_slowly_hold_up_nobody_and_end(service: Service) -> None:
    """Slowloris: a header line a second, of 300 requests that never end; beside it, connections that say nothing."""
    began = time.monotonic()
    async with others_are_served(service), connections(service, 300) as slow, connections(service, 200) as idle:
        ended: set[int] = set()
        for connection in slow:
            await connection.send(HEAD)
        while len(ended) < len(slow) and time.monotonic() - began < HEAD_SECONDS + SLACK_SECONDS:
            await asyncio.sleep(1.0)
            for i, connection in enumerate(slow):
                if i not in ended and not await connection.send(b"X-Slow: 1\r\n"):
                    ended.add(i)
        for connection in slow[:10]:
            await connection.rest()
        assert len(ended) == len(slow)
        assert time.monotonic() - began > HEAD_SECONDS - 1.0
        for connection in idle:
            assert await connection.rest() == b""


async def test_a_head_that_stops_is_told_so(service: Service) -> None:
    """On a new connection, and on one that was answered before; empty lines are no request, and keep none open."""
    async with others_are_served(service), connections(service, 3) as (new, kept, empty):
        for connection in (kept, empty):
            assert await connection.send(GET + b"\r\n")
            assert (await connection.answer())[0] == 200
        await empty.send(b"\r\n\r\n")
        for connection in (new, kept):
            await connection.send(GET + b"X-Unfinished: ")
        for connection in (new, kept):
            refused(*await connection.answer(), f"within {HEAD_SECONDS:g} s")
            assert await connection.rest() == b""
        assert await empty.rest() == b""


CHUNKED = HEAD + b"Transfer-Encoding: chunked\r\n\r\n"
ENDLESS = {
    "ten thousand headers": (GET + b"".join(b"X-%d: 1\r\n" % i for i in range(10_000)) + b"\r\n", "headers"),
    "short headers, too many": (GET + b"a:\r\n" * (MAX_HEADERS + 1) + b"\r\n", f"at most {MAX_HEADERS}"),
    "a long request line": (b"GET /" + b"a" * 4 * MIB, f"{MAX_HEAD_BYTES} bytes"),
    "a long query": (b"GET /tasks?after=" + b"a" * 4 * MIB, f"{MAX_HEAD_BYTES} bytes"),
    "a long method": (b"G" * 4 * MIB, ""),
    "a long name of a header": (GET + b"X" * 4 * MIB, f"{MAX_HEAD_BYTES} bytes"),
    "a long value of a header": (GET + b"X-Long: " + b"a" * 4 * MIB, f"{MAX_HEAD_BYTES} bytes"),
    "a header of many lines": (GET + b"X-Long: a\r\n" + b" a\r\n" * MIB, ""),
    "a long extension of a chunk": (CHUNKED + b"1;" + b"a" * 4 * MIB, f"{MAX_HEAD_BYTES} bytes"),
    "extensions without end": (CHUNKED + (b"1;" + b"a" * 100 + b"\r\n \r\n") * 50_000, f"{MAX_HEAD_BYTES} bytes"),
    "a long trailer": (CHUNKED + b"0\r\nX-Long: " + b"a" * 4 * MIB, f"{MAX_HEAD_BYTES} bytes"),
    "trailers without end": (CHUNKED + b"0\r\n" + b"X-T: 1\r\n" * 500_000, ""),
}  # fmt: skip


@pytest.mark.parametrize("name", ENDLESS)
async def test_a_head_without_end_is_refused_and_takes_no_memory(service: Service, name: str) -> None:
    data, said = ENDLESS[name]
    before = resident_bytes(service)
    async with others_are_served(service, at_least=1), connections(service, 10) as endless:
        for connection in endless:
            await asyncio.gather(connection.send(data), connection.answer(), return_exceptions=True)
        async with connections(service, 1) as (alone,):
            _, answer = await asyncio.gather(alone.send(data), alone.answer(), return_exceptions=True)
            if isinstance(answer, tuple):  # where so much was sent, the answer may be lost with the connection
                refused(*answer, said)
    assert resident_bytes(service) - before < 16 * MIB


def test_just_as_many_headers_as_may_are_taken(service: Service) -> None:
    few = [(f"x-{i}", "1") for i in range(MAX_HEADERS - 10)]
    assert service.http.get("/healthz", headers=few).status_code == 200
    long = {"x-long": "a" * (MAX_HEAD_BYTES - 2000)}
    assert service.http.get("/healthz", headers=long).status_code == 200


async def test_pipelined_requests_are_answered_in_their_order(service: Service) -> None:
    requests = [GET.replace(b"/healthz", b"/problems/%d" % i) + b"\r\n" for i in range(200)]
    async with others_are_served(service), connections(service, 1) as (many,):
        sending = asyncio.create_task(many.send(b"".join(requests)))
        for i in range(200):
            status, body = await many.answer()
            assert (status, f"'{i}'" in Problem.model_validate_json(body).detail) == (404, True)
        await sending


SMUGGLED = b"GET /smuggled HTTP/1.1\r\nHost: x\r\n\r\n"
AMBIGUOUS = {
    "both lengths": b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "both, the other way round": b"Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n",
    "two lengths": b"Content-Length: 0\r\nContent-Length: 40\r\n\r\n",
    "a list of lengths": b"Content-Length: 0, 40\r\n\r\n",
    "a signed length": b"Content-Length: +0\r\n\r\n",
    "a length in hexadecimal": b"Content-Length: 0x0\r\n\r\n",
    "chunks and something else": b"Transfer-Encoding: chunked, x\r\n\r\n0\r\n\r\n",
    "an encoding that is none": b"Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
    "a space before the colon": b"Content-Length : 0\r\n\r\n",
    "a line that goes on": b"Transfer-Encoding:\r\n chunked\r\nContent-Length: 4\r\n\r\n0\r\n\r\n",
    "a bare carriage return": b"X: a\rContent-Length: 0\r\n\r\n",
    "a size that is too large": b"Transfer-Encoding: chunked\r\n\r\nfffffffffffffffff\r\n\r\n",
    "a negative size": b"Transfer-Encoding: chunked\r\n\r\n-1\r\n\r\n",
}


@pytest.mark.parametrize("name", AMBIGUOUS)
async def test_what_follows_an_ambiguous_length_is_no_request(service: Service, name: str) -> None:
    async with others_are_served(service, at_least=1), connections(service, 1) as (sly,):
        await sly.send(HEAD + AMBIGUOUS[name] + SMUGGLED)
        answers = await sly.rest()
    assert answers.startswith(b"HTTP/1.1 400 ")
    assert answers.count(b"HTTP/1.1 ") == 1
    assert b"smuggled" not in answers


async def test_callers_that_never_read_take_little_memory(service: Service) -> None:
    """Each asks 200 times for the description of the service, and reads none of it."""
    before = resident_bytes(service)
    async with others_are_served(service), connections(service, 40) as deaf:
        for connection in deaf:
            async with asyncio.timeout(30):
                await connection.send((b"GET /openapi.json HTTP/1.1\r\nHost: x\r\n\r\n") * 200)
        await asyncio.sleep(1.0)
        assert resident_bytes(service) - before < 48 * MIB


async def test_more_connections_than_may_be_leave_room_for_new_ones(tmp_path: Path) -> None:
    """256 files may be open; 400 connections say nothing, or half a request, and new callers come in all the same."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (256, hard))
    try:
        context = serving(tmp_path / "data")
        limited = context.__enter__()
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    try:
        async with others_are_served(limited), connections(limited, 400) as many:
            for i, connection in enumerate(many):
                await connection.send((b"", HEAD, HEAD + b"Content-Length: 9\r\n\r\n{")[i % 3])
            async with others_are_served(limited):
                await asyncio.sleep(0.5)
            assert num_files(limited) < 256
    finally:
        context.__exit__(None, None, None)
