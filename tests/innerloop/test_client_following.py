"""Claims about following jobs with both clients: their events, and their end."""

import json
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import httpx
import pytest

from innerloop import AsyncClient, Client, errors, wire
from tests.innerloop.answers import FAILED, JOB, SUCCEEDED
from tests.innerloop.shells import Shell

STREAM = {"Content-Type": "text/event-stream; charset=utf-8"}


def event(number: int, name: str = "progress") -> bytes:
    return f'id: {number}\nevent: {name}\ndata: {{"iteration": {number}}}\n\n'.encode()


class Chunks(httpx.SyncByteStream, httpx.AsyncByteStream):
    """A body in chunks, after which the connection is lost, or ends."""

    def __init__(self, *chunks: bytes, lost: type[httpx.RequestError] | None = None) -> None:
        self.chunks, self.lost = chunks, lost

    def __iter__(self) -> Iterator[bytes]:
        yield from self.chunks
        if self.lost is not None:
            raise self.lost("lost")

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for chunk in self:
            yield chunk


class Connections:
    """Answer each connection with the next of some answers, and keep what each asked to go on after."""

    def __init__(self, *answers: httpx.Response | Chunks | httpx.RequestError) -> None:
        self.answers = iter(answers)
        self.asked: list[str | None] = []

    def __call__(self, request: httpx.Request) -> httpx.Response:
        assert (request.method, request.url.path) == ("GET", "/meta-train/j-1/events")
        assert request.headers["Accept"] == "text/event-stream"
        self.asked.append(request.headers.get("Last-Event-ID"))
        answer = next(self.answers)
        if isinstance(answer, httpx.RequestError):
            raise answer
        return httpx.Response(200, headers=STREAM, stream=answer) if isinstance(answer, Chunks) else answer


async def followed(shell: Shell, connections: Connections, last: int | None = None, **options: Any) -> list[int]:
    options = {"max_wait_seconds": 0.0, **options}
    found = await shell(connections, lambda client: client.job_events("j-1", last), **options)
    assert all(one.data["iteration"] == one.id for one in found)
    return [one.id for one in found]


async def test_events_come_up_to_the_end_and_no_further(shell: Shell) -> None:
    body = event(1) + b": alive\n\n" + event(2, "status") + event(3, "end") + event(4)
    connections = Connections(Chunks(body[:17], body[17:60], body[60:]))
    assert await followed(shell, connections) == [1, 2, 3]
    assert connections.asked == [None]


@pytest.mark.parametrize("kind", [None, httpx.ReadError, httpx.RemoteProtocolError, httpx.ReadTimeout])
async def test_lost_connection_is_made_again_with_no_gap_and_nothing_twice(
    shell: Shell, kind: type[httpx.RequestError] | None
) -> None:
    connections = Connections(
        Chunks(event(1), event(2), event(3)[:-1], lost=kind),  # the third is cut, and comes again
        Chunks(event(3), lost=kind),
        Chunks(b"", event(4), event(5, "end")),
    )
    assert await followed(shell, connections) == [1, 2, 3, 4, 5]
    assert connections.asked == [None, "2", "3"]


async def test_restart_of_the_service_is_waited_for(shell: Shell) -> None:
    problem = httpx.Response(503, json={"code": "draining", "detail": "d"}, headers={"Retry-After": "0"})
    away = [httpx.ConnectError("refused") for _ in range(5)]
    connections = Connections(Chunks(event(1)), problem, *away, Chunks(event(2, "end")))
    assert await followed(shell, connections, retries=0) == [1, 2]
    assert connections.asked == [None, *["1"] * 7]


async def test_service_that_was_never_there_is_asked_as_often_as_said(shell: Shell) -> None:
    connections = Connections(*(httpx.ConnectError("refused") for _ in range(9)))
    with pytest.raises(errors.Unreachable):
        await followed(shell, connections, retries=2)
    assert len(connections.asked) == 3


async def test_service_that_stays_away_is_given_up(shell: Shell) -> None:
    connections = Connections(Chunks(event(1)), *(httpx.ConnectError("refused") for _ in range(50)))
    with pytest.raises(errors.Unreachable):
        await followed(shell, connections)
    assert 10 <= len(connections.asked) <= 15


async def test_following_goes_on_after_an_event(shell: Shell) -> None:
    connections = Connections(Chunks(event(8, "end")))
    assert await followed(shell, connections, last=7) == [8]
    assert connections.asked == ["7"]


async def test_job_with_nothing_more_to_come_has_no_events(shell: Shell) -> None:
    assert await followed(shell, Connections(httpx.Response(204))) == []
    assert await followed(shell, Connections(Chunks(event(1)), httpx.Response(204))) == [1]


async def test_refusal_of_events_is_raised_by_its_code(shell: Shell) -> None:
    answer = httpx.Response(404, json={"code": "job-not-found", "detail": "no job j-1"})
    with pytest.raises(errors.JobNotFound, match="no job j-1"):
        await followed(shell, Connections(answer))


async def test_answer_that_is_no_stream_is_unexpected(shell: Shell) -> None:
    with pytest.raises(errors.UnexpectedAnswer, match="no stream of events"):
        await followed(shell, Connections(httpx.Response(200, text="<html>")))


def answering(*answers: Any) -> Callable[[httpx.Request], httpx.Response]:
    left = iter(answers)

    def handler(request: httpx.Request) -> httpx.Response:
        assert (request.method, request.url.path) == ("GET", "/meta-train/j-1")
        answer = next(left)
        if isinstance(answer, httpx.RequestError):
            raise answer
        return httpx.Response(200, json=answer)

    return handler


@pytest.mark.parametrize("ended", [SUCCEEDED, FAILED, {**JOB, "status": "cancelled"}], ids=lambda job: job["status"])
async def test_wait_ends_with_the_job(shell: Shell, ended: dict[str, Any]) -> None:
    handler = answering({**JOB, "status": "queued"}, JOB, ended)
    assert await shell(handler, lambda client: client.wait_for_job("j-1")) == wire.JobInfo.model_validate(ended)


async def test_wait_outlasts_a_restart_of_the_service(shell: Shell) -> None:
    handler = answering(JOB, *(httpx.ConnectError("refused") for _ in range(5)), SUCCEEDED)
    answer = await shell(handler, lambda client: client.wait_for_job("j-1"), max_wait_seconds=0.0, retries=0)
    assert answer.model_version == 3


async def test_wait_that_takes_too_long_says_how_far_the_job_is(shell: Shell) -> None:
    with pytest.raises(errors.TimedOut, match="job j-1 is running after"):
        await shell(answering(*[JOB] * 9), lambda client: client.wait_for_job("j-1", timeout_seconds=0.15))


async def test_error_of_a_failed_job_is_a_problem(shell: Shell) -> None:
    job = await shell(answering(FAILED), lambda client: client.wait_for_job("j-1"))
    assert job.error.code == "training-diverged"


@contextmanager
def dropping_server() -> Iterator[tuple[str, list[str | None]]]:
    """A real server of six events that ends each connection in the middle of its second event."""
    asked: list[str | None] = []

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            asked.append(self.headers.get("Last-Event-ID"))
            first = int(asked[-1] or 0) + 1
            self.send_response(200)
            self.send_header("Content-Type", "text/event-stream")
            self.send_header("Transfer-Encoding", "chunked")
            self.end_headers()
            names = ["end" if number == 6 else "progress" for number in (first, first + 1)]
            body = event(first, names[0]) + event(first + 1, names[1])[:-9]
            self.wfile.write(f"{len(body):x}\r\n".encode() + body + b"\r\n")
            self.close_connection = True  # with no last chunk: the client sees a cut

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 -- its name in the library
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", asked
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


async def test_real_connections_that_drop_lose_no_event() -> None:
    with dropping_server() as (url, asked):
        with Client(url, max_wait_seconds=0.0) as client:
            found = [one.id for one in client.job_events("j-1")]
        async with AsyncClient(url, max_wait_seconds=0.0) as awaiting:
            found_again = [one.id async for one in awaiting.job_events("j-1")]
    assert found == found_again == [1, 2, 3, 4, 5, 6]
    assert asked == [None, "1", "2", "3", "4", "5"] * 2


async def test_following_can_be_left_at_any_event() -> None:
    with dropping_server() as (url, _), Client(url) as client:
        events = client.job_events("j-1")
        assert next(iter(events)).id == 1
        events.close()  # type: ignore[attr-defined]
        assert json.loads(next(iter(client.job_events("j-1", 3))).model_dump_json())["id"] == 4
