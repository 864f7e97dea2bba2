"""The open loop keeps its times whatever is answered and counts each request once; the verdict follows the figures."""

import itertools
import os
import socket
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pytest
from safetensors.numpy import load

from benchmarks.overload import figures, tenant_figures
from benchmarks.overload_generator import Stream, Timing, most_per_second, open_loop, poisson_times
from benchmarks.overload_plot import plot_loads
from benchmarks.overload_service import busy_seconds, cores, resident_mib
from benchmarks.overload_work import WORK, new_tasks

REQUEST = b"POST /adapt HTTP/1.1\r\nContent-Length: 2\r\n\r\n{}"
CREATED, FULL, LATE = (
    b"HTTP/1.1 201 Created\r\nContent-Length: 2\r\n\r\n{}",
    b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 4\r\n\r\nfull",
    b"HTTP/1.1 504 Gateway Timeout\r\nContent-Length: 0\r\n\r\n",
)
TIMING = Timing(seconds=0.5, warm_up_seconds=0.1, give_up_seconds=3.0)


@contextmanager
def answering(answers: Sequence[bytes], *, seconds: float = 0.0) -> Iterator[int]:
    """Serve each connection in a thread; answers in turn, after some time; an empty one closes the connection."""
    turn, ended = itertools.cycle(answers), threading.Event()

    def converse(connection: socket.socket) -> None:
        with connection:
            while connection.recv(65536):
                ended.wait(seconds)
                if not (answer := next(turn)):
                    return
                try:
                    connection.sendall(answer)
                except OSError:  # the caller has left
                    return

    def accept() -> None:
        while not ended.is_set():
            try:
                connection, _ = listening.accept()
            except OSError:
                return
            threads.append(threading.Thread(target=converse, args=(connection,)))
            threads[-1].start()

    threads: list[threading.Thread] = []
    with socket.create_server(("127.0.0.1", 0), backlog=512) as listening:
        accepting = threading.Thread(target=accept)
        accepting.start()
        try:
            yield listening.getsockname()[1]
        finally:
            ended.set()
            listening.shutdown(socket.SHUT_RDWR)
            accepting.join()
            for thread in threads:
                thread.join()


def stream(per_second: float, seed: int = 0) -> Stream:
    return Stream("all", per_second, itertools.repeat(REQUEST), seed)


def num_due(per_second: float, seed: int = 0) -> int:
    """Return how many requests of a stream are measured."""
    times = poisson_times(per_second, TIMING.warm_up_seconds + TIMING.seconds, seed)
    return sum(at >= TIMING.warm_up_seconds for at in times)


def test_every_request_that_is_due_is_counted_once() -> None:
    with answering([CREATED, FULL, LATE]) as port:
        (told,) = open_loop(port, [stream(200)], TIMING)
    assert sum(told.statuses.values()) == num_due(200)
    assert set(told.statuses) == {"201", "503", "504"}
    assert told.num_errors == told.statuses["504"]
    assert len(told.accepted_ms) == told.statuses["201"]
    assert len(told.refused_ms) == told.statuses["503"]
    assert told.offered_per_second == num_due(200) / TIMING.seconds


def test_requests_leave_at_their_times_though_no_answer_comes() -> None:
    with answering([CREATED], seconds=1.0) as port:
        (told,) = open_loop(port, [stream(60)], TIMING)
    assert told.statuses == {"201": num_due(60)}
    assert told.num_connections >= num_due(60)  # none was free to be used again
    assert min(told.accepted_ms) >= 990.0  # a timer may fire a hair before its time


def test_a_connection_is_used_again() -> None:
    with answering([CREATED]) as port:
        (told,) = open_loop(port, [stream(200)], TIMING._replace(max_connections=5))
    assert told.statuses == {"201": num_due(200)}
    assert told.num_connections <= 5


def test_latency_counts_from_when_a_request_was_due_while_it_waits_for_a_connection() -> None:
    with answering([CREATED], seconds=0.05) as port:
        (told,) = open_loop(port, [stream(60)], TIMING._replace(max_connections=1))
    assert told.num_connections == 1
    assert told.num_held > 0
    assert told.statuses == {"201": num_due(60)}
    assert max(told.accepted_ms) > 500.0  # 30 requests, one after the other


def test_callers_give_up() -> None:
    with answering([CREATED], seconds=2.0) as port:
        began = time.monotonic()
        (told,) = open_loop(port, [stream(40)], TIMING._replace(give_up_seconds=0.5))
    assert time.monotonic() - began < 20.0
    assert told.statuses == {"gave up": num_due(40)}
    assert told.num_errors == num_due(40)


def test_a_broken_connection_is_an_error() -> None:
    with answering([b""]) as port:
        (told,) = open_loop(port, [stream(40)], TIMING)
    assert told.statuses == {"connection lost": num_due(40)}


def test_nobody_listening_is_an_error_of_each_request() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    (told,) = open_loop(port, [stream(40)], TIMING)
    assert told.statuses == {"connection lost": num_due(40)}


def test_streams_are_told_apart() -> None:
    with answering([CREATED]) as port:
        few, many = open_loop(port, [stream(20, seed=1), stream(100, seed=2)], TIMING)
    assert few.statuses == {"201": num_due(20, seed=1)}
    assert many.statuses == {"201": num_due(100, seed=2)}


def test_it_is_watched_meanwhile() -> None:
    looks: list[float] = []
    with answering([CREATED]) as port:
        open_loop(port, [stream(20)], TIMING, lambda: looks.append(time.monotonic()))
    assert len(looks) >= 2


def test_capacity_is_what_callers_get_who_wait() -> None:
    with answering([CREATED], seconds=0.02) as port:
        told = most_per_second(port, itertools.repeat(REQUEST), 2, TIMING)
    assert set(told.statuses) == {"201"}
    assert 0 < told.goodput_per_second <= 2 / 0.02 + 4


def test_callers_who_are_refused_pause() -> None:
    with answering([FULL]) as port:
        told = most_per_second(port, itertools.repeat(REQUEST), 2, TIMING)
    assert told.goodput_per_second == 0.0
    assert 0 < told.refused_per_second <= 2 / 0.025 + 4


def test_times_are_poisson() -> None:
    times = np.array(poisson_times(500.0, 20.0, seed=3))
    assert len(times) == pytest.approx(10_000, abs=400)
    spans = np.diff(times)
    assert spans.min() >= 0
    assert spans.std() / spans.mean() == pytest.approx(1.0, abs=0.1)


@pytest.mark.parametrize("work", sorted(WORK))
def test_each_task_has_an_id_of_its_own_and_rows_of_its_own(work: str) -> None:
    requests = list(itertools.islice(new_tasks(work, "Authorization: Bearer x\r\n"), 300))
    bodies = [request.partition(b"\r\n\r\n")[2] for request in requests]
    for request, body in zip(requests, bodies, strict=True):
        assert f"Content-Length: {len(body)}\r\n".encode() in request
        assert b"Authorization: Bearer x\r\n" in request
    read = [_task(work, body) for body in bodies]
    assert len({task_id for task_id, _ in read}) == 300
    assert len({rows for _, rows in read}) >= 256


def _task(work: str, body: bytes) -> tuple[str, bytes]:
    if work == "steps":
        told = orjson.loads(body)
        return told["task_id"], orjson.dumps(told["support"])
    length = int.from_bytes(body[:8], "little")
    header = orjson.loads(body[8 : 8 + length])
    return orjson.loads(header["__metadata__"]["request"])["task_id"], load(body)["support.inputs"].tobytes()


def test_this_process_takes_memory_and_a_core_is_busy_at_times() -> None:
    assert resident_mib(os.getpid()) > 10.0
    assert busy_seconds(cores().generator) > 0.0


def row(load: float, good: float, p99_ms: float, peak_mib: float = 500.0, last_mib: float = 495.0) -> dict[str, Any]:
    return {
        "load": load,
        "offered_per_second": 100 * load,
        "goodput_per_second": good,
        "accepted_p50_ms": p99_ms / 2,
        "accepted_p99_ms": p99_ms,
        "refused_p99_ms": 5.0 if load > 1 else None,
        "resident_mib": [490.0, peak_mib, 495.0],
        "resident_mib_by_quarter": [490.0, 495.0, 493.0, last_mib],
    }


def judged(*rows: dict[str, Any]) -> dict[str, bool]:
    found = {"capacity_per_second": 100.0, "resident_mib_before": 490.0, "rows": list(rows)}
    return {figure.what.split(",")[0]: figure.met for figure in figures(found, "command")}


FINE = (row(0.8, 80, 100), row(3, 95, 180), row(10, 70, 199))
THREE, TEN = "goodput at 3 times capacity", "goodput at 10 times capacity"
LATENCY, MEMORY = "accepted p99 beyond capacity at its highest", "resident memory at its highest"
GROWTH = "resident memory in the last quarter of 10 times capacity"


def test_what_holds_is_met() -> None:
    assert judged(*FINE) == {THREE: True, TEN: True, LATENCY: True, MEMORY: True, GROWTH: True}


@pytest.mark.parametrize(
    ("rows", "missed"),
    [
        ((FINE[0], row(3, 80, 180), FINE[2]), THREE),
        ((*FINE[:2], row(10, 50, 199)), TEN),
        ((*FINE[:2], row(10, 70, 201)), LATENCY),
        ((*FINE[:2], row(10, 70, 199, peak_mib=600)), MEMORY),
        ((*FINE[:2], row(10, 70, 199, last_mib=520)), GROWTH),
    ],
)
def test_what_does_not_hold_is_not_met(rows: tuple[dict[str, Any], ...], missed: str) -> None:
    assert [what for what, met in judged(*rows).items() if not met] == [missed]


def test_a_load_of_which_nothing_was_accepted_is_not_met() -> None:
    nothing = {**row(3, 0, 1), "accepted_p99_ms": None}
    assert [what for what, met in judged(FINE[0], nothing, FINE[2]).items() if not met] == [THREE, LATENCY]


def test_loads_that_were_not_measured_are_not_judged() -> None:
    assert list(judged(FINE[1])) == [THREE, MEMORY, GROWTH.replace("10", "3")]


def test_the_share_of_a_neighbour_that_is_served_is_judged() -> None:
    alone, beside = row(0.1, 10, 50), {**row(0.1, 9, 60), "offered_per_second": 10}
    told = tenant_figures({"alone": alone, "beside": beside}, "command")
    assert (told[0].reached, told[0].met) == ("0.90", False)


def test_the_plot_names_its_targets(tmp_path: Path) -> None:
    plot_loads({"capacity_per_second": 100.0, "rows": list(FINE)}, 2.0, tmp_path / "overload.svg")
    drawn = (tmp_path / "overload.svg").read_text()
    assert "target 0.9 of the peak" in drawn
    assert "milliseconds" in drawn
