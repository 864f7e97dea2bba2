"""What was acknowledged survives kill -9, on either database."""

import threading
from pathlib import Path

import httpx

from tests.api.asking import close
from tests.api.service import Service, start_service

CALLERS, ENOUGH = 6, 40


def test_acknowledged_tasks_survive_kill_9(tmp_path: Path, database_settings: dict[str, str]) -> None:
    service = start_service(tmp_path / "data", **database_settings)
    acknowledged = _adapt_until_killed(service)
    assert len(acknowledged) >= ENOUGH

    again = start_service(tmp_path / "data", **database_settings)
    try:
        for task_id, (revision, outputs) in acknowledged.items():
            assert again.http.get(f"/tasks/{task_id}").json()["revision"] >= revision
            body = {"task_id": task_id, "revision": revision, "inputs": [[0.5]]}
            answer = again.http.post("/predict", json=body).json()
            # Others were in the batch then: the weights are the very same, and rounding depends on the batch's shape.
            assert close(answer["outputs"], outputs)
        after = again.http.post("/adapt", json=_body("task-0", 99)).json()
        assert after["revision"] > acknowledged["task-0"][0]
    finally:
        again.stop()


def _body(task_id: str, seed: int) -> dict[str, object]:
    return {"task_id": task_id, "support": {"inputs": [[seed / 10], [1.0]], "targets": [0.5, -seed / 10]}, "steps": 1}


def _adapt_until_killed(service: Service) -> dict[str, tuple[int, list[list[float]]]]:
    """Adapt from several threads, kill the service in the middle and return what it acknowledged."""
    acknowledged: dict[str, tuple[int, list[list[float]]]] = {}
    enough = threading.Event()

    def caller(number: int) -> None:
        seed = 0
        with httpx.Client(base_url=service.url, timeout=30) as http:
            while True:
                seed += 1
                task_id = f"task-{number}" if seed % 2 else f"task-{number}-{seed}"
                try:
                    adapted = http.post("/adapt", json=_body(task_id, seed)).json()
                    body = {"task_id": task_id, "revision": adapted["revision"], "inputs": [[0.5]]}
                    outputs = http.post("/predict", json=body).json()["outputs"]
                except httpx.TransportError:
                    return
                acknowledged[task_id] = adapted["revision"], outputs
                if len(acknowledged) >= ENOUGH:
                    enough.set()

    threads = [threading.Thread(target=caller, args=(number,)) for number in range(CALLERS)]
    for thread in threads:
        thread.start()
    assert enough.wait(60)
    service.kill()
    for thread in threads:
        thread.join(60)
    return acknowledged
