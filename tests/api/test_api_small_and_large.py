"""Input that is small on the wire and large inside is refused before it costs anything."""

import resource
from pathlib import Path

import httpx
import pytest

from tests.api.asking import JSON, adapt, problem_of
from tests.api.service import Service

MIB = 1024 * 1024


def memory_bytes(service: Service) -> int:
    statm = Path(f"/proc/{service.process.pid}/statm").read_text(encoding="ascii")
    return int(statm.split()[1]) * resource.getpagesize()


def test_one_long_text_among_numbers_is_no_large_array(service: Service, http: httpx.Client, task_id: str) -> None:
    adapt(http, task_id=task_id)
    before = memory_bytes(service)
    inputs: list[object] = ["a" * MIB, *([0.5] for _ in range(9_999))]
    problem_of(http.post("/predict", json={"task_id": task_id, "inputs": inputs}), 422, "invalid-request")
    assert memory_bytes(service) - before < 200 * MIB


@pytest.mark.parametrize("within", ["", "support"])
def test_very_many_unknown_fields_are_one_short_answer(service: Service, http: httpx.Client, within: str) -> None:
    fields = ",".join(f'"{i}":0' for i in range(100_000))
    body = f'{{"{within}":{{{fields}}}}}' if within else f"{{{fields}}}"
    before = memory_bytes(service)
    answer = http.post("/adapt", content=body.encode(), headers=JSON)
    assert "100000 fields" in problem_of(answer, 422, "invalid-request").detail
    assert len(answer.content) < 2000
    assert memory_bytes(service) - before < 200 * MIB


def test_promoting_takes_no_large_body(http: httpx.Client) -> None:
    body = b'{"version": 1' + b" " * (2 * MIB) + b"}"
    problem_of(http.post("/models/sinusoid/promote", content=body, headers=JSON), 413, "body-too-large")
