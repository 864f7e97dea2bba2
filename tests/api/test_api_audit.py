"""Claims about the audit log: who did what to which task."""

import asyncio
from pathlib import Path
from typing import Any

import httpx
import pytest

from innerloop.wire import AuditInfo, Page
from tests.api.asking import adapt, predict, problem_of, sine
from tests.api.tenants import bearer, make_key
from tests.api.test_api_batched import served

BODY = {"support": sine(5), "estimate": False}


def entries(http: httpx.Client, **params: Any) -> list[AuditInfo]:
    response = http.get("/audit", params=params)
    assert response.status_code == 200, response.text
    return Page[AuditInfo].model_validate_json(response.content).data


@pytest.mark.parametrize(
    ("params", "code"),
    [
        ({"task_id": "../x"}, "invalid-id"),
        ({"task_id": ""}, "invalid-id"),
        ({"limit": "0"}, "invalid-request"),
        ({"limit": "501"}, "invalid-request"),
        ({"after": "x"}, "invalid-request"),
    ],
)
def test_the_log_takes_ids_and_cursors(http: httpx.Client, params: dict[str, str], code: str) -> None:
    problem_of(http.get("/audit", params=params), 422, code)


def test_nobody_changes_the_log(http: httpx.Client) -> None:
    for method in ("POST", "PUT", "PATCH", "DELETE"):
        problem_of(http.request(method, "/audit"), 405, "method-not-allowed")


def test_each_thing_that_is_done_to_a_task_is_noted(http: httpx.Client, task_id: str) -> None:
    adapt(http, task_id=task_id, headers={"X-Request-ID": "first"})
    adapt(http, task_id=task_id, append=True, support=sine(2, phase=1.0))
    assert http.get(f"/tasks/{task_id}/weights", params={"revision": 1}).status_code == 200
    assert http.get(f"/tasks/{task_id}/support").status_code == 200
    assert http.delete(f"/tasks/{task_id}/support/6").status_code == 200
    assert http.delete(f"/tasks/{task_id}").status_code == 204
    found = entries(http, task_id=task_id)
    assert [(one.action, one.revision) for one in reversed(found)] == [
        ("adapt", 1),
        ("append", 2),
        ("download-weights", 1),
        ("download-support", 2),
        ("remove-row", 3),
        ("delete", 3),
    ]
    assert found[-1].request_id == "first"
    assert len({one.request_id for one in found}) == 6
    assert {one.key_id for one in found} == {None}
    assert entries(http)[0] == found[0]


def test_what_changes_and_hands_out_nothing_is_not_noted(http: httpx.Client, task_id: str) -> None:
    adapt(http, task_id=task_id)
    adapt(http, task_id=task_id, status=200)
    predict(http, task_id=task_id, inputs=[[1.0]])
    http.get(f"/tasks/{task_id}")
    http.get(f"/tasks/{task_id}/revisions")
    http.get(f"/tasks/{task_id}/support", params={"revision": 9})
    http.delete(f"/tasks/{task_id}/support/9")
    http.post("/adapt", json={"task_id": task_id, "support": {"inputs": [], "targets": []}})
    assert [one.action for one in entries(http, task_id=task_id)] == ["adapt"]


def test_a_repeated_request_is_noted_once(http: httpx.Client, task_id: str) -> None:
    headers = {"Idempotency-Key": f"key-{task_id}"}
    for _ in range(2):
        assert http.post("/adapt", json={**BODY, "task_id": task_id}, headers=headers).status_code == 201
    assert [one.action for one in entries(http, task_id=task_id)] == ["adapt"]


def test_each_of_a_batch_is_noted(http: httpx.Client, task_id: str) -> None:
    batch = [{**BODY, "task_id": task_id, "steps": steps} for steps in (1, 2)]
    assert http.post("/adapt/batch", json=batch).status_code == 200
    found = entries(http, task_id=task_id)
    assert [(one.action, one.revision) for one in found] == [("adapt", 2), ("adapt", 1)]
    assert found[0].request_id == found[1].request_id


async def test_the_key_is_named_and_its_tenant_sees_its_own(tmp_path: Path) -> None:
    async with served(tmp_path) as (http, _):
        users = {tenant: make_key(tmp_path, tenant, "use") for tenant in ("a", "b")}
        admins = {tenant: make_key(tmp_path, tenant, "admin") for tenant in ("a", "b", "default")}
        await wait_for_keys(http)
        for key in users.values():
            answer = await http.post("/adapt", json={**BODY, "task_id": "same"}, headers=bearer(key))
            assert answer.status_code == 201, answer.text
            problem_of(await http.get("/audit", headers=bearer(key)), 403, "forbidden-scope")
        for tenant, admin in admins.items():
            found = (await http.get("/audit", params={"task_id": "same"}, headers=bearer(admin))).json()["data"]
            expected = [users[tenant].key_id] if tenant in users else []
            assert [one["key_id"] for one in found] == expected
        problem_of(await http.get("/audit"), 401, "unauthorized")


async def wait_for_keys(http: httpx.AsyncClient) -> None:
    """Wait until the service has seen that there are keys by now: within a second."""
    for _ in range(400):
        if (await http.get("/tasks")).status_code == 401:
            return
    raise AssertionError("the service serves without a key")


async def test_what_expired_is_noted_and_old_entries_go(tmp_path: Path) -> None:
    async with served(tmp_path, purge_every_seconds=0.2) as (http, context):
        assert (await http.post("/adapt", json={**BODY, "task_id": "t", "ttl_seconds": 1})).status_code == 201
        actions: list[str] = []
        for _ in range(2000):
            actions = [one["action"] for one in (await http.get("/audit")).json()["data"]]
            if len(actions) > 1:
                break
        assert actions == ["expire", "adapt"]
        assert context.settings.audit_days == 90


def test_a_new_time_to_live_of_what_is_adapted_already_is_noted(http: httpx.Client, task_id: str) -> None:
    adapt(http, task_id=task_id)
    adapt(http, task_id=task_id, status=200, headers={"X-Request-ID": "soon"}, ttl_seconds=1000)
    adapt(http, task_id=task_id, status=200)
    adapt(http, task_id=task_id, status=200, ttl_seconds=None)
    adapt(http, task_id=task_id, status=200, ttl_seconds=None)  # it has none already
    found = entries(http, task_id=task_id)
    assert [(one.action, one.revision) for one in reversed(found)] == [("adapt", 1), ("set-ttl", 1), ("set-ttl", 1)]
    assert found[1].request_id == "soon"


async def test_a_task_that_a_key_let_expire_names_the_key(tmp_path: Path) -> None:
    async with served(tmp_path, purge_every_seconds=0.2) as (http, _):
        user, admin = make_key(tmp_path, "a", "use"), make_key(tmp_path, "a", "admin")
        await wait_for_keys(http)
        for more, status in (({}, 201), ({"ttl_seconds": 1}, 200)):
            answer = await http.post("/adapt", json={**BODY, "task_id": "t", **more}, headers=bearer(user))
            assert answer.status_code == status
        found: list[Any] = []
        for _ in range(2000):
            found = (await http.get("/audit", params={"task_id": "t"}, headers=bearer(admin))).json()["data"]
            if len(found) > 2:
                break
        assert [(one["action"], one["key_id"]) for one in found] == [
            ("expire", None),
            ("set-ttl", user.key_id),
            ("adapt", user.key_id),
        ]


async def test_a_log_of_no_days_is_none(tmp_path: Path) -> None:
    async with served(tmp_path, audit_days=0) as (http, _):
        assert (await http.post("/adapt", json={**BODY, "task_id": "t"})).status_code == 201
        assert (await http.get("/tasks/t/weights")).status_code == 200
        assert (await http.delete("/tasks/t")).status_code == 204
        assert (await http.get("/audit")).json()["data"] == []


async def test_what_expires_stays_in_no_log_of_no_days(tmp_path: Path) -> None:
    async with served(tmp_path, audit_days=0, purge_every_seconds=0.2) as (http, context):
        assert (await http.post("/adapt", json={**BODY, "task_id": "t", "ttl_seconds": 1})).status_code == 201
        await asyncio.sleep(2.0)
        assert context.engine.cached_tasks() == []
        assert (await http.get("/audit")).json()["data"] == []
