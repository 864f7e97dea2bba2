"""Claims about /tasks."""

from itertools import pairwise
from uuid import uuid4

import httpx
import pytest

from innerloop.wire import Page, RevisionInfo, TaskInfo
from tests.api.asking import adapt, problem_of, sine
from tests.api.drawings import MODEL, rows_of

TASK_FIELDS = {
    "task_id", "model", "revision", "revisions", "support_size", "classes", "bytes", "created_at", "updated_at",
    "expires_at",
}  # fmt: skip
LISTS = ("/tasks", "/models", "/tasks/{}/revisions")
NO_LIMITS = ["0", "501", "-1", "abc", "", "1.5", "1e2", "99999999999999999999999", "null"]
NO_CURSORS = ["", "x", "AAAA", "é", "\0", "../..", "x" * 513, "dGFza3M6Li4v"]


def _all_tasks(http: httpx.Client, **params: str) -> list[TaskInfo]:
    """Return what the pages of /tasks hold together."""
    found, cursor = [], None
    while True:
        shown = httpx.QueryParams({**params, **({"after": cursor} if cursor else {})})
        response = http.get("/tasks", params=shown)
        assert response.status_code == 200
        page = Page[TaskInfo].model_validate_json(response.content)
        assert len(page.data) <= int(params.get("limit", "50"))
        assert page.has_more == (page.next is not None)
        found += page.data
        cursor = page.next
        if cursor is None:
            return found


def test_a_task_tells_of_its_latest_revision(http: httpx.Client, task_id: str) -> None:
    adapt(http, task_id=task_id, ttl_seconds=500)
    adapt(http, task_id=task_id, model=MODEL, support=rows_of(["a", "b"], [2, 3]))
    shown = http.get(f"/tasks/{task_id}").json()
    assert shown.keys() >= TASK_FIELDS
    task = TaskInfo.model_validate(shown)
    assert (task.task_id, task.model, task.model_version) == (task_id, MODEL, 1)
    assert (task.revision, task.revisions, task.support_size, task.classes) == (2, 2, 5, ["a", "b"])
    assert task.bytes > 5 * 28 * 28
    assert task.created_at <= task.updated_at
    assert task in _all_tasks(http)


def test_revisions_are_listed_newest_first(http: httpx.Client, task_id: str) -> None:
    for steps in (3, 1, 2):
        adapt(http, task_id=task_id, steps=steps)
    page = Page[RevisionInfo].model_validate_json(http.get(f"/tasks/{task_id}/revisions").content)
    assert [(revision.revision, revision.steps, revision.kept_step) for revision in page.data] == [
        (3, 2, 2), (2, 1, 1), (1, 3, 3),
    ]  # fmt: skip
    assert not page.has_more
    assert page.next is None


def test_pages_of_revisions_follow_each_other(http: httpx.Client, task_id: str) -> None:
    for steps in range(5):
        adapt(http, task_id=task_id, steps=steps)
    found, cursor = [], None
    for expected in ([5, 4], [3, 2], [1]):
        params = {"limit": "2", **({"after": cursor} if cursor else {})}
        page = Page[RevisionInfo].model_validate_json(http.get(f"/tasks/{task_id}/revisions", params=params).content)
        assert [revision.revision for revision in page.data] == expected
        found += page.data
        cursor = page.next
    assert cursor is None


def test_pages_of_tasks_follow_each_other_without_gap_or_double(http: httpx.Client) -> None:
    made = {adapt(http, task_id=f"page-{uuid4().hex}", steps=0).task_id for _ in range(7)}
    for limit in ("1", "3", "500"):
        ids = [task.task_id for task in _all_tasks(http, limit=limit)]
        assert all(one < two for one, two in pairwise(ids))
        assert made <= set(ids)


def test_a_page_has_fifty_unless_asked_otherwise(http: httpx.Client) -> None:
    tasks = [adapt(http, steps=0).task_id for _ in range(51)]
    page = Page[TaskInfo].model_validate_json(http.get("/tasks").content)
    assert (len(page.data), page.has_more) == (50, True)
    for task in tasks:
        assert http.delete(f"/tasks/{task}").status_code == 204


def test_tasks_can_be_listed_by_model(http: httpx.Client, task_id: str) -> None:
    of_numbers = adapt(http).task_id
    adapt(http, task_id=task_id, model=MODEL, support=rows_of(["a", "b"], [1, 1]))
    found = _all_tasks(http, model=MODEL, limit="2")
    assert {task.model for task in found} == {MODEL}
    ids = [task.task_id for task in found]
    assert task_id in ids
    assert of_numbers not in ids
    assert _all_tasks(http, model="none-such") == []


def test_a_cursor_outlives_the_task_that_it_names(http: httpx.Client) -> None:
    first, second, third = (adapt(http, task_id=f"zz-{uuid4().hex}-{i}", steps=0) for i in range(3))
    del second
    ids = sorted([first.task_id, third.task_id])
    everything = _all_tasks(http)
    before = [task.task_id for task in everything].index(ids[0]) + 1
    page = Page[TaskInfo].model_validate_json(http.get("/tasks", params={"limit": before}).content)
    assert page.data[-1].task_id == ids[0]
    http.delete(f"/tasks/{ids[0]}")
    rest = Page[TaskInfo].model_validate_json(http.get("/tasks", params={"after": page.next or ""}).content)
    assert ids[1] in [task.task_id for task in rest.data]


def test_deleting_is_done_once(http: httpx.Client, task_id: str) -> None:
    adapt(http, task_id=task_id)
    response = http.delete(f"/tasks/{task_id}")
    assert (response.status_code, response.content) == (204, b"")
    problem_of(http.delete(f"/tasks/{task_id}"), 404, "task-not-found")


@pytest.mark.parametrize("limit", NO_LIMITS)
@pytest.mark.parametrize("path", LISTS)
def test_limits_of_a_page_are_held(http: httpx.Client, path: str, limit: str) -> None:
    response = http.get(path.format("none-such"), params={"limit": limit})
    problem = problem_of(response, 422, "invalid-request")
    assert problem.errors[0].loc[-1] == "limit"


@pytest.mark.parametrize("cursor", NO_CURSORS)
@pytest.mark.parametrize("path", LISTS)
def test_a_cursor_of_the_callers_own_making_is_refused(http: httpx.Client, path: str, cursor: str) -> None:
    task = adapt(http, steps=0).task_id
    problem = problem_of(http.get(path.format(task), params={"after": cursor}), 422, "invalid-request")
    assert problem.errors[0].loc[-1] == "after"
    http.delete(f"/tasks/{task}")


def test_the_cursor_of_another_list_is_refused(http: httpx.Client, task_id: str) -> None:
    for size in (2, 3):
        adapt(http, task_id=task_id, support=sine(size), steps=0)
    cursor = http.get(f"/tasks/{task_id}/revisions", params={"limit": 1}).json()["next"]
    for path in ("/tasks", "/models"):
        problem_of(http.get(path, params={"after": cursor}), 422, "invalid-request")


@pytest.mark.parametrize("name", ["../x", "", "a b", "x" * 65, "a\n", "a\0", "a@1"])
def test_a_model_to_list_by_must_be_a_name(http: httpx.Client, name: str) -> None:
    problem_of(http.get("/tasks", params={"model": name}), 422, "invalid-id")
