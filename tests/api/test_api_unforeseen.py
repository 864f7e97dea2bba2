"""An error that nobody foresaw tells its caller that there was one, under which request, and nothing else."""

from pathlib import Path
from typing import Any

import httpx
import pytest

from app.store import Store
from tests.api.asking import INSIDES, SUPPORT
from tests.api.test_api_batched import served

SECRET = "cannot open /srv/innerloop/data/innerloop.db for somebody"
INFER = {"inputs": [{"name": "inputs", "shape": [1, 1], "datatype": "FP32", "data": [0.5]}]}
ASKED: list[tuple[str, str, Any]] = [
    ("POST", "/adapt", {"task_id": "t", "support": SUPPORT}),
    ("POST", "/predict", {"task_id": "t", "inputs": [[0.5]]}),
    ("GET", "/tasks/t", None),
    ("GET", "/tasks", None),
    ("GET", "/tasks/t/support", None),
    ("DELETE", "/tasks/t", None),
    ("GET", "/models", None),
    ("GET", "/meta-train/j/events", None),
    ("GET", "/audit", None),
    ("GET", "/datasets/d", None),
    ("POST", "/v2/models/t/infer", INFER),
]


def failing(*_arguments: Any, **_options: Any) -> Any:
    raise RuntimeError(SECRET)


@pytest.fixture
def broken(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let everything fail that routes ask the store for."""
    for name in ("task", "tasks", "latest_revisions", "heads", "delete_task", "models", "job", "audit", "dataset"):
        monkeypatch.setattr(Store, name, failing)


def checked(document: dict[str, Any], request_id: str) -> None:
    fields = {"type", "title", "status", "code", "detail", "error", "remedy", "request_id", "errors"}
    assert document.keys() == fields, document
    assert (document["status"], document["code"]) == (500, "internal-error")
    assert document["type"] == "/problems/internal-error"
    assert document["request_id"] == request_id
    assert document["errors"] == []
    assert document["detail"] == document["error"] == "the service failed; its log has more under this request_id"


@pytest.mark.usefixtures("broken")
async def test_a_500_has_type_title_status_and_request_id_and_no_more(tmp_path: Path) -> None:
    async with served(tmp_path) as (http, _):
        for number, (method, path, body) in enumerate(ASKED):
            asked = {"X-Request-ID": f"request-{number}"}
            answer = await http.request(method, path, json=body, headers=asked)
            assert answer.status_code == 500, (path, answer.text)
            assert answer.headers["Content-Type"] == "application/problem+json"
            assert not INSIDES.search(answer.text), path
            assert not any(word in answer.text for word in (SECRET, "RuntimeError", "/srv"))
            checked(answer.json(), f"request-{number}")


@pytest.mark.usefixtures("broken")
async def test_a_500_within_a_batch_tells_no_more(tmp_path: Path) -> None:
    async with served(tmp_path) as (http, _):
        for path, body in (("/adapt/batch", ASKED[0][2]), ("/predict/batch", ASKED[1][2])):
            answer: httpx.Response = await http.post(path, json=[body], headers={"X-Request-ID": "in-a-batch"})
            assert answer.status_code == 200
            (document,) = answer.json()
            checked(document, "in-a-batch")
            assert SECRET not in answer.text
