"""A device without memory is told and goes on; one that is gone ends the process, and the next one has everything."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import httpx
import pytest
import torch

from app.engine import executor
from app.settings import REPOSITORY, Settings
from tests.api.asking import close, outputs, problem_of, sine
from tests.api.service import start_service
from tests.api.test_api_batched import served

BREAKING = '''
"""The service, but for its device, which has failed as soon as there is a file that says how."""
import sys
from pathlib import Path

import torch
import typer

from app.commands.serve import serve
from app.engine import executor

error_in, healthy = Path(sys.argv[1]), executor.predict_many

def predict_many(*arguments):
    if error_in.exists():
        raise torch.AcceleratorError(error_in.read_text())
    return healthy(*arguments)

executor.predict_many = predict_many
sys.argv = sys.argv[:1]
typer.run(serve)
'''
STATUS = 70
QUERY = [[0.5], [1.5]]


class Breaking(NamedTuple):
    """A service whose device a test can end."""

    process: "subprocess.Popen[bytes]"
    http: httpx.Client
    error: Path
    log: Path


@pytest.fixture
def breaking(tmp_path: Path) -> Iterator[Breaking]:
    names = {name.upper() for name in Settings.model_fields}
    environment = {name: value for name, value in os.environ.items() if name not in names}
    chosen = {"DATA_DIR": tmp_path / "data", "PORT": 0, "LOG_FORMAT": "json", "COMPILE_SERVING": "never"}
    environment |= {name: str(value) for name, value in chosen.items()} | {"OMP_NUM_THREADS": "1"}
    script, error, log = tmp_path / "breaking.py", tmp_path / "error", tmp_path / "log"
    script.write_text(BREAKING)
    with log.open("wb") as output:
        command = [sys.executable, str(script), str(error)]
        environment["PYTHONPATH"] = str(REPOSITORY)
        process = subprocess.Popen(command, cwd=REPOSITORY, env=environment, stdout=output, stderr=subprocess.STDOUT)
    deadline = time.monotonic() + 120
    while '"serving"' not in log.read_text():
        assert process.poll() is None, log.read_text()
        assert time.monotonic() < deadline
        time.sleep(0.05)
    (line,) = [line for line in log.read_text().splitlines() if '"serving"' in line]
    url = json.loads(line)["url"]
    with httpx.Client(base_url=url, timeout=30.0) as http:
        yield Breaking(process, http, error, log)
    process.kill()
    process.wait(30)


def test_a_device_that_is_gone_ends_the_process_and_the_next_one_has_everything(
    breaking: Breaking, tmp_path: Path
) -> None:
    http = breaking.http
    adapted = http.post("/adapt", json={"task_id": "kept", "support": sine(5)})
    assert adapted.status_code == 201, adapted.text
    before = outputs(http, task_id="kept", inputs=QUERY)
    assert http.get("/readyz").status_code == 200

    breaking.error.write_text("CUDA error: device-side assert triggered")
    answer = http.post("/predict", json={"task_id": "kept", "inputs": QUERY})
    problem_of(answer, 503, "device-gone")
    readiness = http.get("/readyz")  # at once: the process ends within two seconds
    assert readiness.status_code == 503
    assert "the device cpu has failed" in readiness.json()["reasons"]
    assert breaking.process.wait(30) == STATUS
    assert "Traceback" not in breaking.log.read_text().partition("the device has failed")[2]

    again = start_service(tmp_path / "data")
    try:
        assert close(outputs(again.http, task_id="kept", inputs=QUERY), before)
    finally:
        assert again.stop() == 0


async def test_without_memory_the_caller_is_told_to_come_again_and_the_service_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_memory(*_: Any) -> Any:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")

    async with served(tmp_path) as (http, context):
        body = {"task_id": "large", "support": sine(5)}
        with monkeypatch.context() as patched:
            patched.setattr(executor, "adapt_many", no_memory)
            problem = problem_of(await http.post("/adapt", json=body), 503, "device-out-of-memory")
            assert "GiB" not in problem.detail
            assert (await http.get("/tasks/large")).status_code == 404
            assert (await http.get("/readyz")).status_code == 200
        assert (await http.post("/adapt", json=body)).status_code == 201
        assert context.engine.failure is None


async def test_a_batch_that_had_no_memory_once_is_answered_as_if_nothing_had_been(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    errors = [torch.OutOfMemoryError("CUDA out of memory.")]
    predict_many = executor.predict_many

    def once_without_memory(*arguments: Any) -> Any:
        if errors:
            raise errors.pop()
        return predict_many(*arguments)

    async with served(tmp_path) as (http, _):
        assert (await http.post("/adapt", json={"task_id": "a", "support": sine(5)})).status_code == 201
        body = {"task_id": "a", "inputs": QUERY}
        expected = (await http.post("/predict", json=body)).json()["outputs"]
        monkeypatch.setattr(executor, "predict_many", once_without_memory)
        assert close((await http.post("/predict", json=body)).json()["outputs"], expected)
        assert errors == []


async def test_every_route_to_a_device_that_is_gone_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def gone(*_: Any) -> Any:
        raise torch.AcceleratorError("CUDA error: an illegal memory access was encountered")

    async with served(tmp_path) as (http, context):
        assert (await http.post("/adapt", json={"task_id": "a", "support": sine(5)})).status_code == 201
        monkeypatch.setattr(executor, "predict_many", gone)
        problem_of(await http.post("/predict", json={"task_id": "a", "inputs": QUERY}), 503, "device-gone")
        asked = [
            http.post("/adapt", json={"support": sine(4)}),
            http.post("/predict", json={"support": sine(4), "inputs": QUERY}),
            http.post("/predict", json={"task_id": "a", "inputs": QUERY}),
            http.post("/v2/models/a/infer", json={"inputs": [infer_input()]}),
        ]
        for call in asked:
            problem_of(await call, 503, "device-gone")
        assert (await http.get("/tasks/a")).status_code == 200  # what is stored can be had
        readiness = await http.get("/readyz")
        assert readiness.json()["reasons"] == [context.engine.failure]


def infer_input() -> dict[str, Any]:
    return {"name": "inputs", "shape": [2, 1], "datatype": "FP32", "data": [0.5, 1.5]}
