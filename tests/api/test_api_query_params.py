"""Query parameters: one that is not known, a misspelt one among them, is refused, and nothing is done."""

import httpx
import pytest

from tests.api.asking import Json, adapt, problem_of, sine

LISTS = ["/tasks", "/models", "/datasets", "/audit"]
SUPPORT: Json = {"support": sine(5)}
CALLS: list[tuple[str, Json | list[Json]]] = [
    ("/adapt", SUPPORT),
    ("/predict", {**SUPPORT, "inputs": [[0.5]]}),
    ("/adapt/batch", [SUPPORT]),
    ("/predict/batch", [{**SUPPORT, "inputs": [[0.5]]}]),
    ("/models/sinusoid/promote", {"version": 1}),
]


@pytest.mark.parametrize("path", LISTS)
def test_a_list_takes_its_own_parameters_alone(http: httpx.Client, path: str) -> None:
    assert http.get(path, params={"limit": 1}).status_code == 200
    detail = problem_of(http.get(path, params={"limit": 1, "Limit": 2}), 422, "invalid-request").detail
    assert "'Limit'" in detail
    assert "after, limit" in detail


@pytest.mark.usefixtures("nothing_changes")
@pytest.mark.parametrize(("path", "body"), CALLS, ids=[path for path, _ in CALLS])
def test_what_belongs_in_the_body_is_not_taken_from_the_query(
    http: httpx.Client, path: str, body: Json | list[Json]
) -> None:
    detail = problem_of(http.post(path, params={"steps": 9}, json=body), 422, "invalid-request").detail
    assert "'steps'" in detail
    assert "there are none here" in detail


def test_a_row_stays_when_the_condition_is_misspelt(http: httpx.Client, task_id: str) -> None:
    adapt(http, task_id=task_id, support=sine(5))
    answer = http.delete(f"/tasks/{task_id}/support/0", params={"if_revison": 99})
    assert "if_revision" in problem_of(answer, 422, "invalid-request").detail
    task = http.get(f"/tasks/{task_id}").json()
    assert (task["revision"], task["support_size"]) == (1, 5)
    problem_of(http.delete(f"/tasks/{task_id}", params={"if_revision": 1}), 422, "invalid-request")
    assert http.get(f"/tasks/{task_id}").status_code == 200


def test_names_of_any_length_are_told_in_short(http: httpx.Client) -> None:
    detail = problem_of(http.get("/tasks?" + "x" * 5000 + "=1"), 422, "invalid-request").detail
    assert len(detail) < 200


def test_other_servers_clients_may_add_to_the_open_inference_protocol(http: httpx.Client, task_id: str) -> None:
    adapt(http, task_id=task_id, support=sine(5))
    body = {"inputs": [{"name": "inputs", "shape": [1, 1], "datatype": "FP32", "data": [0.5]}]}
    for answer in (
        http.get("/v2/health/ready", params={"verbose": 1}),
        http.get(f"/v2/models/{task_id}/ready", params={"x": 1}),
        http.post(f"/v2/models/{task_id}/infer", params={"x": 1}, json=body),
    ):
        assert answer.status_code == 200
