"""Claims about caps: a service with small ones takes what is just under each and refuses what is just over."""

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest

from innerloop.wire import Problem, Readiness
from tests.api.asking import JSON, adapt, defaults_of, problem_of, sine
from tests.api.drawings import MODEL, drawing, in_base64, picture, saved
from tests.api.service import Service, start_service

CAPS: dict[str, float] = {
    "max_classes": 3,
    "max_support_rows": 6,
    "max_query_rows": 8,
    "max_steps": 4,
    "max_body_bytes": 20_000,
    "max_revisions": 2,
    "max_learning_rate": 0.5,
    "max_learning_rate_scale": 3.0,
    "max_picture_pixels": 105 * 105,
    "max_queue_depth": 1,
}


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """A service with small caps, and without its default model."""
    running = start_service(tmp_path_factory.mktemp("small"), default_model="none", **CAPS)
    yield running
    running.stop()


def _files(names: list[str], *, enlarged: bool = False) -> dict[str, Any]:
    files = [drawing(character, 0) for character in range(len(names))]
    if enlarged:
        files[-1] = saved(picture(0, 0).resize((106, 105)), "PNG")
    return {"inputs": [in_base64(file) for file in files], "targets": names}


def _numbers(num_rows: int) -> dict[str, Any]:
    return {"model": "sinusoid", "support": sine(num_rows)}


TWO = ["a", "b"]
TAKEN: dict[str, tuple[str, dict[str, Any]]] = {
    "classes": ("/adapt", {"model": MODEL, "support": _files([*TWO, "c"])}),
    "support rows": ("/adapt", _numbers(6)),
    "query rows": ("/predict", {**_numbers(2), "inputs": [[0.5]] * 8}),
    "validation rows": ("/adapt", {**_numbers(2), "validation": sine(8)}),
    "steps": ("/adapt", {**_numbers(2), "steps": 4}),
    "rate": ("/adapt", {**_numbers(2), "learning_rate": 0.5, "steps": 0}),
    "scale": ("/adapt", {**_numbers(2), "learning_rate_scale": 3.0}),
    "pixels": ("/adapt", {"model": MODEL, "support": _files(TWO)}),
}
REFUSED: dict[str, tuple[str, dict[str, Any], int, str, str]] = {
    "classes": ("/adapt", {"model": MODEL, "support": _files([*TWO, "c", "d"])}, 422, "too-many-classes", "3"),
    "support rows": ("/adapt", _numbers(7), 413, "too-many-rows", "6"),
    "stateless support rows": ("/predict", {**_numbers(7), "inputs": [[0.5]]}, 413, "too-many-rows", "6"),
    "query rows": ("/predict", {**_numbers(2), "inputs": [[0.5]] * 9}, 413, "too-many-rows", "8"),
    "validation rows": ("/adapt", {**_numbers(2), "validation": sine(9)}, 413, "too-many-rows", "8"),
    "steps": ("/adapt", {**_numbers(2), "steps": 5}, 422, "steps-over-limit", "4"),
    "rate": ("/adapt", {**_numbers(2), "learning_rate": 0.51}, 422, "setting-out-of-range", "0.5"),
    "scale": ("/adapt", {**_numbers(2), "learning_rate_scale": 3.1}, 422, "setting-out-of-range", "3"),
    "pixels": ("/adapt", {"model": MODEL, "support": _files(TWO, enlarged=True)}, 413, "picture-too-large", "11025"),
}  # fmt: skip


def test_limits_show_the_settings_in_force(small: Service) -> None:
    assert small.http.get("/limits").json().items() >= CAPS.items()


@pytest.mark.parametrize("cap", TAKEN)
def test_just_under_a_cap_is_taken(small: Service, cap: str) -> None:
    path, body = TAKEN[cap]
    response = small.http.post(path, json=body)
    assert response.status_code in (200, 201), response.text


@pytest.mark.parametrize("cap", REFUSED)
def test_just_over_a_cap_is_refused_with_the_cap(small: Service, task_id: str, cap: str) -> None:
    path, body, status, code, shown = REFUSED[cap]
    named = {"task_id": task_id} if path == "/adapt" else {}
    assert shown in problem_of(small.http.post(path, json={**body, **named}), status, code).detail
    problem_of(small.http.get(f"/tasks/{task_id}"), 404, "task-not-found")


def test_steps_that_are_not_named_stay_under_the_cap(small: Service) -> None:
    assert adapt(small.http, **_numbers(2)).steps == min(4, defaults_of(small.http)["steps"])


def _padded(size: int) -> bytes:
    body = json.dumps(_numbers(2)).encode()
    return body + b" " * (size - len(body))


@pytest.mark.parametrize("chunked", [False, True], ids=["with its length", "in chunks"])
@pytest.mark.parametrize(("excess", "status"), [(0, 201), (1, 413), (200_000, 413)])
def test_bytes_of_a_body_are_capped(small: Service, excess: int, status: int, chunked: bool) -> None:
    body = _padded(20_000 + excess)
    content: Any = (body[i : i + 4096] for i in range(0, len(body), 4096)) if chunked else body
    response = small.http.post("/adapt", content=content, headers=JSON)
    assert response.status_code == status
    if status == 413:
        assert "20000" in problem_of(response, 413, "body-too-large").detail


@pytest.mark.parametrize("path", ["/predict", "/models/sinusoid/promote"])
def test_bytes_of_every_body_are_capped(small: Service, path: str) -> None:
    problem_of(small.http.post(path, content=_padded(20_001), headers=JSON), 413, "body-too-large")


def test_only_so_many_revisions_are_kept(small: Service, task_id: str) -> None:
    for size in (2, 3, 4):
        adapt(small.http, task_id=task_id, **_numbers(size))
    kept = small.http.get(f"/tasks/{task_id}/revisions").json()["data"]
    assert [revision["revision"] for revision in kept] == [3, 2]


def test_a_full_line_is_told_when_to_come_back(small: Service) -> None:
    def ask(_: int) -> httpx.Response:
        return small.http.post("/predict", json={**_numbers(6), "inputs": [[0.5]] * 8})

    answers: list[httpx.Response] = []
    with ThreadPoolExecutor(16) as threads:
        for _ in range(20):
            answers += threads.map(ask, range(32))
            if {200, 503} <= {answer.status_code for answer in answers}:
                break
    refused = [answer for answer in answers if answer.status_code != 200]
    assert 0 < len(refused) < len(answers)
    for answer in refused:
        problem_of(answer, 503, "overloaded")
        assert int(answer.headers["Retry-After"]) >= 1


def test_without_its_default_model_it_is_not_ready_and_says_why(small: Service) -> None:
    response = small.http.get("/readyz")
    problem_of(response, 503, "not-ready")
    readiness = Readiness.model_validate_json(response.content)
    assert not readiness.ready
    assert any("none" in reason for reason in readiness.reasons)
    assert Problem.model_validate_json(response.content).detail
    assert small.http.get("/healthz").status_code == 200
    problem_of(small.http.post("/adapt", json={"support": sine(2)}), 404, "model-not-found")
