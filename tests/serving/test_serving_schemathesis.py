"""The running service is what its description says, whatever is sent: schemathesis, all checks, no 5xx."""

import re
from pathlib import Path

import httpx

from tests.api.service import Service, start_service
from tests.api.tenants import bearer, make_key
from tests.serving.contract_fuzz import fill, fuzz


def _assert_found_nothing(service: Service, phases: str, key: str | None = None) -> None:
    found = fuzz(service, seed=6, max_examples=3, phases=phases, key=key)
    assert found.returncode == 0, found.stdout + found.stderr
    generated = re.search(r"(\d+) generated", found.stdout)
    assert generated, found.stdout
    assert int(generated[1]) > 100
    assert service.logged("unforeseen error") == []


def test_without_keys_every_answer_is_as_described(tmp_path: Path) -> None:
    service = start_service(tmp_path / "data", job_worker=0)
    fill(service.http)
    _assert_found_nothing(service, "coverage")
    assert service.stop() == 0


def test_with_keys_every_answer_is_as_described(tmp_path: Path) -> None:
    service = start_service(tmp_path / "data", job_worker=0)
    key = make_key(tmp_path / "data", "fuzzers")
    with httpx.Client(base_url=service.url, timeout=60.0, headers=bearer(key)) as http:
        fill(http)
    _assert_found_nothing(service, "fuzzing,stateful", key.text)
    assert service.stop() == 0
