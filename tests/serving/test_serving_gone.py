"""Callers who hang up over a real connection: predictions that nobody waits for are not computed."""

import json
import socket
import time
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from tests.api.asking import adapt, predict, sine
from tests.api.service import Service, start_service

HEAVY: dict[str, Any] = {"support": sine(200), "steps": 100, "inputs": [[0.5]]}
NUM_GONE = 30


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """A service in which much may wait."""
    service = start_service(tmp_path_factory.mktemp("gone"), max_wait_seconds=1000, max_queue_depth=10_000)
    adapt(service.http, task_id="t", support=sine(5))
    yield service
    service.stop()


def asked(service: Service, path: str, body: Any) -> socket.socket:
    """Send a request and return its connection."""
    url = httpx.URL(service.url)
    content = json.dumps(body).encode()
    connection = socket.create_connection((url.host, url.port or 80), timeout=60)
    connection.sendall(
        f"POST {path} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n".encode()
        + f"Content-Length: {len(content)}\r\n\r\n".encode()
        + content
    )
    return connection


def counted(http: httpx.Client, name: str) -> float:
    """Return a number of /metrics, summed over its labels."""
    lines = http.get("/metrics").text.splitlines()
    return sum(float(line.rpartition(" ")[2]) for line in lines if line.startswith(name))


LEFT = 'innerloop_queue_left_total{reason="gone"'


@pytest.mark.parametrize(("path", "body"), [("/predict", HEAVY), ("/predict/batch", [HEAVY] * 2)])
def test_predictions_of_callers_who_hung_up_leave_the_line(service: Service, path: str, body: Any) -> None:
    http = service.http
    busy = [asked(service, "/predict", HEAVY) for _ in range(40)]  # they stay, and hold the device for a while
    time.sleep(0.2)
    before = counted(http, LEFT)
    gone = [asked(service, path, body) for _ in range(NUM_GONE)]
    time.sleep(0.5)
    for connection in gone:
        connection.close()
    for connection in busy:
        assert connection.recv(12) == b"HTTP/1.1 200"
        connection.close()
    assert counted(http, LEFT) > before
    assert predict(http, task_id="t", inputs=[[0.5]]).outputs
    assert counted(http, "innerloop_requests_under_way") == 1  # the one that asks


def test_adapting_goes_on_when_the_caller_hangs_up(service: Service) -> None:
    connection = asked(service, "/adapt", {"task_id": "kept", "support": sine(20)})
    time.sleep(0.05)
    connection.close()
    deadline = time.monotonic() + 30
    while service.http.get("/tasks/kept").status_code != 200:
        assert time.monotonic() < deadline
        time.sleep(0.05)
