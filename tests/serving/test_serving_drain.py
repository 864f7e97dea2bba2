"""SIGTERM: what was accepted is answered, then the process ends by itself."""

import math
import signal
import threading
import time
from pathlib import Path

import httpx

from tests.api.service import start_service

X = [i / 100 - 5 for i in range(1000)]
SLOW = {
    "support": {"inputs": [[x] for x in X], "targets": [math.sin(x) for x in X]},
    "steps": 100,
    "learning_rate": 0.001,
}


def test_a_request_under_way_is_answered_before_the_end(tmp_path: Path) -> None:
    service = start_service(tmp_path / "data")
    answers: list[int] = []

    def ask() -> None:
        answers.append(httpx.post(f"{service.url}/adapt", json=SLOW, timeout=60).status_code)

    threads = [threading.Thread(target=ask) for _ in range(4)]
    for thread in threads:
        thread.start()
    time.sleep(0.3)
    service.process.send_signal(signal.SIGTERM)
    for thread in threads:
        thread.join(60)
    assert service.process.wait(30) == 0
    assert answers == [201] * 4
    again = start_service(tmp_path / "data")
    assert len(again.http.get("/tasks").json()["data"]) == 4
    assert again.stop() == 0


def test_readiness_says_draining_while_requests_are_still_served(tmp_path: Path) -> None:
    service = start_service(tmp_path / "data", drain_delay_seconds=2)
    assert service.http.get("/readyz").status_code == 200
    service.process.send_signal(signal.SIGTERM)
    time.sleep(0.3)
    readiness = httpx.get(f"{service.url}/readyz")
    assert readiness.status_code == 503
    assert readiness.json()["reasons"] == ["the service is draining"]
    assert readiness.headers["Retry-After"]
    served = httpx.post(f"{service.url}/adapt", json={"support": {"inputs": [[1.0]], "targets": [2.0]}})
    assert served.status_code == 201
    assert service.process.wait(30) == 0
