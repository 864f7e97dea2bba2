"""Requests are counted by labels that no caller chooses, so that series stay few."""

from types import SimpleNamespace
from typing import Any

import pytest

from app.api.request_counts import NO_ROUTE, OTHER_METHOD, RequestCounts, route_of


def scope(path: str, template: str | None = None) -> dict[str, Any]:
    route = {} if template is None else {"route": SimpleNamespace(path=template)}
    return {"type": "http", "method": "GET", "path": path, **route}


@pytest.mark.parametrize(
    ("asked", "label"),
    [
        (scope("/adapt"), "/adapt"),
        (scope("/predict"), "/predict"),
        (scope("/openapi.json"), "/openapi.json"),
        (scope("/tasks/mine", "/tasks/{task_id}"), "/tasks/{task_id}"),
        (
            scope("/v2/models/a/versions/7/infer", "/v2/models/{t}/versions/{r}/infer"),
            "/v2/models/{t}/versions/{r}/infer",
        ),
        (scope("/admin.php"), NO_ROUTE),
        (scope("/adapt/"), NO_ROUTE),
    ],
)
def test_a_request_is_counted_under_the_template_of_its_route(asked: dict[str, Any], label: str) -> None:
    assert route_of(asked) == label


def test_ten_thousand_tasks_and_paths_make_as_few_entries_as_one() -> None:
    counts = RequestCounts()
    for number in range(10_000):
        for asked in (scope(f"/tasks/task-{number}", "/tasks/{task_id}"), scope(f"/nothing-{number}")):
            counts.begin()
            counts.end("GET", route_of(asked), 404, 0.001)
    assert counts.ended() == {("GET", "/tasks/{task_id}", "404"): 10_000, ("GET", NO_ROUTE, "404"): 10_000}
    assert set(counts.durations()) == {("GET", "/tasks/{task_id}"), ("GET", NO_ROUTE)}


def test_methods_that_callers_make_up_are_one() -> None:
    counts = RequestCounts()
    for number in range(100):
        counts.end(f"METHOD{number}", NO_ROUTE, 405, 0.001)
    assert counts.ended() == {(OTHER_METHOD, NO_ROUTE, "405"): 100}
    assert sum(counts.durations()[OTHER_METHOD, NO_ROUTE].counts) == 100


def test_problems_are_counted_by_code() -> None:
    counts = RequestCounts()
    assert counts.problems() == {}
    for code in ("rate-limited", "overloaded", "rate-limited"):
        counts.note_problem(code)
    assert counts.problems() == {"rate-limited": 2, "overloaded": 1}


def test_requests_under_way_are_those_that_began_and_did_not_end() -> None:
    counts = RequestCounts()
    counts.begin()
    counts.begin()
    counts.end("POST", "/adapt", 201, 0.5)
    assert counts.num_under_way == 1
    counts.end("POST", "/adapt", 0, 20.0)
    assert counts.num_under_way == 0
    durations = counts.durations()["POST", "/adapt"]
    assert (sum(durations.counts), durations.counts[-1], durations.total) == (2, 1, 20.5)
