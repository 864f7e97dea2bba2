"""Claims about revisions: numbers, `cached`, time to live, deletion."""

import time
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest

from innerloop.wire import Page, RevisionInfo, TaskInfo
from tests.api.asking import adapt, close, defaults_of, outputs, predict, problem_of, sine
from tests.api.drawings import MODEL, rows_of

QUERY = [[-3.3], [0.2], [2.1]]
DEFAULT = "of the card"
SAME: dict[str, dict[str, Any]] = {
    "the very same": {},
    "default model named": {"model": "sinusoid"},
    "version named": {"model": "sinusoid@1"},
    "default steps named": {"steps": DEFAULT},
    "default rate named": {"learning_rate": DEFAULT},
    "scale of one": {"learning_rate_scale": 1.0},
    "integers for numbers": {"learning_rate_scale": 1},
    "validation": {"validation": sine(3)},
    "time to live": {"ttl_seconds": 1000},
    "keep the best": {"on_divergence": "best"},
    "nulls for absent": {"model": None, "steps": None, "learning_rate": None, "validation": None},
}
OTHER: dict[str, dict[str, Any]] = {
    "steps": {"steps": 23},
    "rate": {"learning_rate": 0.0123},
    "scale": {"learning_rate_scale": 2.0},
    "a row more": {"support": sine(6)},
    "another target": {"support": {**sine(5), "targets": [*sine(5)["targets"][:4], 0.0]}},
    "another order of rows": {"support": {field: values[::-1] for field, values in sine(5).items()}},
}


@pytest.mark.parametrize("named", SAME)
def test_an_equal_latest_revision_is_the_answer(http: httpx.Client, task_id: str, named: str) -> None:
    first = adapt(http, task_id=task_id)
    defaults = defaults_of(http)
    settings = {field: defaults[field] if value == DEFAULT else value for field, value in SAME[named].items()}
    again = adapt(http, status=200, task_id=task_id, **settings)
    assert (again.revision, again.support_loss, again.steps) == (1, first.support_loss, first.steps)
    assert (again.validation is None) == ("validation" not in named)
    assert http.get(f"/tasks/{task_id}").json()["revision"] == 1


@pytest.mark.parametrize("named", OTHER)
def test_anything_else_is_a_new_revision(http: httpx.Client, task_id: str, named: str) -> None:
    adapt(http, task_id=task_id)
    assert adapt(http, task_id=task_id, **OTHER[named]).revision == 2


def test_an_equal_older_revision_is_made_anew(http: httpx.Client, task_id: str) -> None:
    first = adapt(http, task_id=task_id)
    adapt(http, task_id=task_id, support=sine(7))
    third = adapt(http, task_id=task_id)
    assert (third.revision, third.support_loss) == (3, first.support_loss)
    assert adapt(http, status=200, task_id=task_id).revision == 3


def test_class_names_are_part_of_the_support(http: httpx.Client, task_id: str) -> None:
    adapt(http, task_id=task_id, model=MODEL, support=rows_of(["a", "b"], [1, 1]))
    adapt(http, status=200, task_id=task_id, support=rows_of(["a", "b"], [1, 1]))
    others: list[list[Any]] = [["b", "a"], ["1", "2"], [1, 2]]
    for number, names in enumerate(others, start=2):
        assert adapt(http, task_id=task_id, support=rows_of(names, [1, 1])).revision == number


def test_an_appended_union_equals_the_same_rows_sent_at_once(http: httpx.Client, task_id: str) -> None:
    rows = sine(6)
    adapt(http, task_id=task_id, support={field: values[:4] for field, values in rows.items()})
    adapt(http, task_id=task_id, support={field: values[4:] for field, values in rows.items()}, append=True)
    assert adapt(http, status=200, task_id=task_id, support=rows).revision == 2


def test_a_revision_never_changes(http: httpx.Client, task_id: str) -> None:
    adapt(http, task_id=task_id)
    before = predict(http, task_id=task_id, revision=1, inputs=QUERY)
    listed = http.get(f"/tasks/{task_id}/revisions").json()["data"][-1]
    for size in (6, 7):
        adapt(http, task_id=task_id, support=sine(size))
    adapt(http, task_id=task_id, support=sine(2), append=True, ttl_seconds=500)
    after = predict(http, task_id=task_id, revision=1, inputs=QUERY)
    assert (after.outputs, after.revision) == (before.outputs, 1)
    assert http.get(f"/tasks/{task_id}/revisions").json()["data"][-1] == listed
    assert not close(outputs(http, task_id=task_id, inputs=QUERY), before.outputs, within=1e-3)
    assert predict(http, task_id=task_id, inputs=QUERY).revision == 4


def test_the_newest_twenty_revisions_are_kept(http: httpx.Client, task_id: str) -> None:
    for i in range(23):
        adapt(http, task_id=task_id, support=sine(2 + i % 3, phase=i / 10), steps=0)
    page = Page[RevisionInfo].model_validate_json(http.get(f"/tasks/{task_id}/revisions").content)
    assert [revision.revision for revision in page.data] == list(range(23, 3, -1))
    task = TaskInfo.model_validate_json(http.get(f"/tasks/{task_id}").content)
    assert (task.revision, task.revisions) == (23, 20)
    assert task.bytes == sum(revision.bytes for revision in page.data)
    for number in (1, 3, 24, 2**63 - 1):
        response = http.post("/predict", json={"task_id": task_id, "revision": number, "inputs": QUERY})
        problem_of(response, 404, "revision-not-found")
    assert predict(http, task_id=task_id, revision=4, inputs=QUERY).revision == 4


def _expires(http: httpx.Client, task_id: str) -> datetime | None:
    return TaskInfo.model_validate_json(http.get(f"/tasks/{task_id}").content).expires_at


def test_time_to_live_is_kept_until_it_is_named(http: httpx.Client, task_id: str) -> None:
    named = adapt(http, task_id=task_id, ttl_seconds=1000).expires_at
    assert named is not None
    assert abs(named - datetime.now(UTC) - timedelta(seconds=1000)) < timedelta(seconds=20)
    assert adapt(http, status=200, task_id=task_id).expires_at == named
    assert adapt(http, task_id=task_id, support=sine(6)).expires_at == named
    assert adapt(http, task_id=task_id, support=sine(1), append=True).expires_at == named == _expires(http, task_id)
    later = adapt(http, status=200, task_id=task_id, support=_grown(), ttl_seconds=5000).expires_at
    assert later is not None
    assert later - named > timedelta(seconds=3000)
    assert adapt(http, task_id=task_id, support=sine(8), ttl_seconds=None).expires_at is None
    assert _expires(http, task_id) is None


def _grown() -> dict[str, list[Any]]:
    return {field: [*values, *sine(1)[field]] for field, values in sine(6).items()}


def test_times_are_written_in_utc(http: httpx.Client, task_id: str) -> None:
    adapt(http, task_id=task_id, ttl_seconds=1000)
    task = http.get(f"/tasks/{task_id}").json()
    for field in ("created_at", "updated_at", "expires_at"):
        assert datetime.strptime(task[field], "%Y-%m-%dT%H:%M:%SZ")


def test_without_a_time_to_live_a_task_is_for_ever(http: httpx.Client) -> None:
    assert adapt(http).expires_at is None


def test_what_has_expired_is_nowhere_and_its_numbers_go_on(http: httpx.Client, task_id: str) -> None:
    adapt(http, task_id=task_id)
    adapt(http, task_id=task_id, support=sine(6), ttl_seconds=1)
    time.sleep(1.1)
    _is_gone(http, task_id)
    anew = adapt(http, task_id=task_id, if_revision=0)
    assert (anew.revision, anew.expires_at) == (3, None)
    problem_of(
        http.post("/predict", json={"task_id": task_id, "revision": 2, "inputs": QUERY}), 404, "revision-not-found"
    )


def test_what_was_deleted_is_nowhere_and_its_numbers_go_on(http: httpx.Client, task_id: str) -> None:
    adapt(http, task_id=task_id)
    adapt(http, task_id=task_id, support=sine(6), ttl_seconds=1000)
    response = http.delete(f"/tasks/{task_id}")
    assert (response.status_code, response.content) == (204, b"")
    _is_gone(http, task_id)
    anew = adapt(http, task_id=task_id)
    assert (anew.revision, anew.expires_at, anew.cached) == (3, None, False)
    task = TaskInfo.model_validate_json(http.get(f"/tasks/{task_id}").content)
    assert (task.revision, task.revisions) == (3, 1)


def _is_gone(http: httpx.Client, task_id: str) -> None:
    for response in (
        http.get(f"/tasks/{task_id}"),
        http.get(f"/tasks/{task_id}/revisions"),
        http.delete(f"/tasks/{task_id}"),
        http.post("/predict", json={"task_id": task_id, "inputs": QUERY}),
        http.post("/predict", json={"task_id": task_id, "revision": 1, "inputs": QUERY}),
        http.post("/adapt", json={"task_id": task_id, "support": sine(2), "append": True}),
    ):
        problem_of(response, 404, "task-not-found")
    page = Page[TaskInfo].model_validate_json(http.get("/tasks", params={"limit": 500}).content)
    assert task_id not in [task.task_id for task in page.data]
