"""Claims about support rows: `store_support`, `/tasks/{id}/support`, and a row taken out."""

import asyncio
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from safetensors.numpy import load

from app.trees import from_bytes
from innerloop.wire import AdaptAnswer, Page, RevisionInfo, SupportAnswer, TaskInfo
from tests.api.asking import Json, adapt, close, outputs, predict, problem_of, sine
from tests.api.drawings import MODEL, rows_of
from tests.api.test_api_batched import served

QUERY = [[-3.0], [0.5], [2.5]]
SAFETENSORS = {"Accept": "application/vnd.safetensors"}
NO_ROWS = ["-1", "abc", "1.5", "1e2", "99999999999999999999999", "é", "0x1", "None"]


def support_of(http: httpx.Client, task_id: str, **params: Any) -> SupportAnswer:
    response = http.get(f"/tasks/{task_id}/support", params=params)
    assert response.status_code == 200, response.text
    return SupportAnswer.model_validate_json(response.content)


def remove(http: httpx.Client, task_id: str, row: int, **params: Any) -> AdaptAnswer:
    response = http.delete(f"/tasks/{task_id}/support/{row}", params=params)
    assert response.status_code == 200, response.text
    return AdaptAnswer.model_validate_json(response.content)


def numbers_of(http: httpx.Client, task_id: str) -> list[int]:
    page = Page[RevisionInfo].model_validate_json(http.get(f"/tasks/{task_id}/revisions").content)
    return [revision.revision for revision in page.data]


def as_float32(rows: list[Any]) -> "np.ndarray[Any, np.dtype[np.float32]]":
    return np.array(rows, dtype=np.float32)


# ---- what is refused ----


def test_there_is_no_support_of_what_is_not_there(http: httpx.Client, task_id: str) -> None:
    for method in ("GET", "DELETE"):
        path = f"/tasks/{task_id}/support" + ("/0" if method == "DELETE" else "")
        problem_of(http.request(method, path), 404, "task-not-found")
    adapt(http, task_id=task_id)
    problem_of(http.get(f"/tasks/{task_id}/support", params={"revision": 2}), 404, "revision-not-found")
    problem_of(http.get(f"/tasks/{task_id}/support", params={"revision": 0}), 422, "invalid-request")
    problem_of(http.get("/tasks/a.b/support"), 422, "invalid-id")


@pytest.mark.parametrize("row", NO_ROWS)
def test_a_row_is_a_number_from_0(http: httpx.Client, task_id: str, row: str) -> None:
    adapt(http, task_id=task_id)
    problem_of(http.delete(f"/tasks/{task_id}/support/{row}"), 422, "invalid-request")
    assert numbers_of(http, task_id) == [1]


def test_a_row_that_is_not_there_cannot_go(http: httpx.Client, task_id: str) -> None:
    adapt(http, task_id=task_id)
    for row in (5, 2**31 - 1):
        problem = problem_of(http.delete(f"/tasks/{task_id}/support/{row}"), 404, "row-not-found")
        assert "it has 5" in problem.detail
    assert numbers_of(http, task_id) == [1]


def test_the_last_row_cannot_go(http: httpx.Client, task_id: str) -> None:
    adapt(http, task_id=task_id, support=sine(1))
    problem_of(http.delete(f"/tasks/{task_id}/support/0"), 409, "last-row")
    assert support_of(http, task_id).support.targets == pytest.approx(sine(1)["targets"])


def test_the_last_row_of_a_class_cannot_go(http: httpx.Client, task_id: str) -> None:
    rows = rows_of(["a", "b", "c"], [2, 1, 2])
    adapt(http, task_id=task_id, model=MODEL, support=rows, steps=1)
    only = rows["targets"].index("b")
    problem = problem_of(http.delete(f"/tasks/{task_id}/support/{only}"), 409, "last-row")
    assert "'b'" in problem.detail
    assert numbers_of(http, task_id) == [1]


def test_a_row_goes_only_from_the_revision_that_was_read(http: httpx.Client, task_id: str) -> None:
    adapt(http, task_id=task_id)
    adapt(http, task_id=task_id, steps=2)
    problem_of(http.delete(f"/tasks/{task_id}/support/0", params={"if_revision": 1}), 409, "revision-conflict")
    assert numbers_of(http, task_id) == [2, 1]
    assert remove(http, task_id, 0, if_revision=2).revision == 3


@pytest.mark.parametrize("value", ["false", 0, None, [], 1.0])
def test_store_support_is_true_or_false(http: httpx.Client, task_id: str, value: object) -> None:
    body = {"task_id": task_id, "support": sine(5), "store_support": value}
    problem_of(http.post("/adapt", json=body), 422, "invalid-request")
    problem_of(http.get(f"/tasks/{task_id}"), 404, "task-not-found")


def test_a_prediction_stores_nothing_and_takes_no_store_support(http: httpx.Client) -> None:
    body = {"support": sine(5), "inputs": QUERY, "store_support": False}
    problem_of(http.post("/predict", json=body), 422, "invalid-request")


def test_nothing_can_be_done_with_rows_that_are_not_stored(http: httpx.Client, task_id: str) -> None:
    adapt(http, task_id=task_id, store_support=False)
    append = {"task_id": task_id, "support": sine(2), "append": True}
    problem_of(http.post("/adapt", json=append), 422, "support-not-stored")
    problem_of(http.post("/adapt", json={**append, "store_support": False}), 422, "support-not-stored")
    problem_of(http.get(f"/tasks/{task_id}/support"), 422, "support-not-stored")
    problem_of(http.delete(f"/tasks/{task_id}/support/0"), 422, "support-not-stored")
    assert numbers_of(http, task_id) == [1]


async def test_a_model_whose_tasks_are_their_rows_needs_them(tmp_path: Path) -> None:
    async with served(tmp_path) as (http, _):
        assert (await http.post("/models/sinusoid/authority", json={"authority": "rows"})).status_code == 200
        body = {"task_id": "t", "support": sine(5), "store_support": False}
        problem_of(await http.post("/adapt", json=body), 422, "support-needed")
        problem_of(await http.get("/tasks/t"), 404, "task-not-found")
        assert (await http.post("/adapt", json={**body, "store_support": True})).status_code == 201


# ---- rows that are not stored ----


def test_a_task_without_its_rows_predicts_the_same(http: httpx.Client, task_id: str) -> None:
    with_rows = adapt(http, support=sine(6), steps=3)
    without = adapt(http, task_id=task_id, support=sine(6), steps=3, store_support=False)
    assert (with_rows.support_stored, without.support_stored) == (True, False)
    assert without.support_size == 6
    assert close(outputs(http, task_id=task_id, inputs=QUERY), outputs(http, task_id=with_rows.task_id, inputs=QUERY))
    for kept, stored in ((with_rows, True), (without, False)):
        task = TaskInfo.model_validate_json(http.get(f"/tasks/{kept.task_id}").content)
        (revision,) = http.get(f"/tasks/{kept.task_id}/revisions").json()["data"]
        assert (task.support_stored, task.support_size, revision["support_stored"]) == (stored, 6, stored)
    sizes = [http.get(f"/tasks/{answer.task_id}").json()["bytes"] for answer in (with_rows, without)]
    assert sizes[0] - sizes[1] > 6 * 2 * 4


def test_a_task_without_its_rows_is_never_the_cached_answer(http: httpx.Client, task_id: str) -> None:
    fields: Json = {"task_id": task_id, "support": sine(6), "steps": 3}
    for revision, store_support in enumerate([False, False, True, False], start=1):
        answer = adapt(http, **fields, store_support=store_support)
        assert (answer.revision, answer.support_stored) == (revision, store_support)


def test_answers_to_a_repeated_request_say_what_is_stored(http: httpx.Client, task_id: str) -> None:
    headers = {"Idempotency-Key": f"key-{task_id}"}
    body = {"task_id": task_id, "support": sine(5), "store_support": False}
    first, again = (http.post("/adapt", json=body, headers=headers) for _ in range(2))
    assert first.json() == again.json()
    assert again.headers["Idempotency-Replayed"] == "true"
    assert first.json()["support_stored"] is False


# ---- rows shown ----


def test_rows_come_back_as_they_were_sent(http: httpx.Client, task_id: str) -> None:
    sent = {"inputs": [[-1.25], [0.5], [3.75]], "targets": [0.25, -0.5, 2.0]}
    adapt(http, task_id=task_id, support=sent)
    shown = support_of(http, task_id)
    assert (shown.task_id, shown.revision, shown.model, shown.model_version) == (task_id, 1, "sinusoid", 1)
    assert (shown.support.model_dump(), shown.classes) == (sent, None)
    again = http.post("/adapt", json={"task_id": task_id, "support": shown.support.model_dump()})
    assert (again.status_code, again.json()["cached"]) == (200, True)


def test_rows_of_each_revision_are_shown(http: httpx.Client, task_id: str) -> None:
    adapt(http, task_id=task_id, support=sine(3))
    adapt(http, task_id=task_id, support=sine(2, phase=1.0), append=True)
    assert [len(support_of(http, task_id, revision=n).support.inputs) for n in (1, 2)] == [3, 5]
    assert support_of(http, task_id).revision == 2


@pytest.mark.parametrize("names", [["é", "b"], [7, -3]])
def test_classes_come_back_by_their_names(http: httpx.Client, task_id: str, names: list[Any]) -> None:
    sent = rows_of(names, [1, 2])
    adapt(http, task_id=task_id, model=MODEL, support=sent, steps=1)
    shown = support_of(http, task_id)
    assert (shown.classes, shown.support.targets) == (names, sent["targets"])
    assert np.array_equal(as_float32(shown.support.inputs), as_float32(sent["inputs"]))


def test_rows_are_tensors_for_who_wants_them(http: httpx.Client, task_id: str) -> None:
    sent = rows_of(["x", "y"], [1, 2])
    adapt(http, task_id=task_id, model=MODEL, support=sent, steps=1)
    response = http.get(f"/tasks/{task_id}/support", headers=SAFETENSORS)
    assert response.headers["Content-Type"] == SAFETENSORS["Accept"]
    tensors = load(response.content)
    assert np.array_equal(tensors["support.inputs"], as_float32(sent["inputs"]))
    assert tensors["support.targets"].tolist() == [0, 1, 1]
    assert '\\"classes\\":[\\"x\\",\\"y\\"]' in response.content[:1000].decode(errors="replace")


# ---- a row taken out ----


def test_without_a_row_a_task_is_as_if_it_had_never_been_there(http: httpx.Client, task_id: str) -> None:
    rows = sine(6)
    adapt(http, task_id=task_id, support=rows, steps=3, learning_rate=0.02)
    answer = remove(http, task_id, 2)
    left = {name: [*values[:2], *values[3:]] for name, values in rows.items()}
    assert (answer.revision, answer.support_size, answer.steps, answer.cached) == (2, 5, 3, False)
    assert answer.estimate is not None
    anew = adapt(http, support=left, steps=3, learning_rate=0.02)
    assert answer.support_loss == pytest.approx(anew.support_loss)
    weights = [from_bytes(http.get(f"/tasks/{of}/weights").content) for of in (task_id, anew.task_id)]
    assert all(np.allclose(weights[0][name], weights[1][name], atol=1e-6) for name in weights[0])
    assert close(support_of(http, task_id).support.inputs, left["inputs"])
    same = http.post("/adapt", json={"task_id": task_id, "support": left, "steps": 3, "learning_rate": 0.02})
    assert same.json()["cached"] is True


def test_every_older_revision_goes_with_the_row(http: httpx.Client, task_id: str) -> None:
    adapt(http, task_id=task_id, support=sine(3))
    adapt(http, task_id=task_id, support=sine(3), steps=2)
    adapt(http, task_id=task_id, support=sine(2, phase=2.0), append=True, estimate=False, ttl_seconds=500)
    for revision in (1, 2, 3):
        predict(http, task_id=task_id, revision=revision, inputs=QUERY)  # they are in the cache
    created_at = http.get(f"/tasks/{task_id}").json()["created_at"]
    answer = remove(http, task_id, 4)
    assert (answer.revision, answer.support_size, answer.estimate) == (4, 4, None)
    assert numbers_of(http, task_id) == [4]
    for revision in (1, 2, 3):
        body = {"task_id": task_id, "revision": revision, "inputs": QUERY}
        problem_of(http.post("/predict", json=body), 404, "revision-not-found")
    task = http.get(f"/tasks/{task_id}").json()
    assert (task["created_at"], task["expires_at"] is not None) == (created_at, True)
    assert adapt(http, task_id=task_id, support=sine(7)).revision == 5
    assert numbers_of(http, task_id) == [5, 4]


def test_classes_are_in_the_order_in_which_they_appear_then(http: httpx.Client, task_id: str) -> None:
    rows = rows_of(["a", "b"], [2, 2])
    order = sorted(range(4), key=lambda i: rows["targets"][:i].count(rows["targets"][i]))
    sent = {name: [values[i] for i in order] for name, values in rows.items()}
    assert sent["targets"] == ["a", "b", "a", "b"]
    adapt(http, task_id=task_id, model=MODEL, support=sent, steps=1)
    answer = remove(http, task_id, 0)
    assert answer.classes == ["b", "a"]
    left = {name: values[1:] for name, values in sent.items()}
    anew = adapt(http, model=MODEL, support=left, steps=1)
    picture = rows["inputs"][:1]
    found, expected = (predict(http, task_id=of, inputs=picture) for of in (task_id, anew.task_id))
    assert (found.classes, found.labels) == (expected.classes, expected.labels)
    assert close(found.probabilities, expected.probabilities)


async def test_a_task_that_is_its_rows_stays_so_without_one_of_them(tmp_path: Path) -> None:
    async with served(tmp_path) as (http, context):
        await http.post("/models/sinusoid/authority", json={"authority": "rows"})
        await http.post("/adapt", json={"task_id": "t", "support": sine(5), "steps": 3})
        await http.post("/models/sinusoid/authority", json={"authority": "weights"})
        assert (await http.delete("/tasks/t/support/1")).status_code == 200
        assert {key.revision for key in context.engine.cached_tasks()} == {2}
        context.engine.forget_task("default", "t")
        rows = sine(5)
        left = {name: [values[0], *values[2:]] for name, values in rows.items()}
        found = (await http.post("/predict", json={"task_id": "t", "inputs": QUERY})).json()["outputs"]
        body = {"support": left, "inputs": QUERY, "steps": 3}
        assert close(found, (await http.post("/predict", json=body)).json()["outputs"])
        latest = context.store.revision("default", "t", now=datetime.now(UTC))
        assert (latest.revision, latest.authority) == (2, "rows")


async def test_rows_taken_out_at_once_go_one_after_the_other(tmp_path: Path) -> None:
    async with served(tmp_path) as (http, _):
        await http.post("/adapt", json={"task_id": "t", "support": sine(20), "estimate": False})
        answers = await asyncio.gather(*(http.delete("/tasks/t/support/0") for _ in range(12)))
        assert [answer.status_code for answer in answers] == [200] * 12
        assert sorted(answer.json()["support_size"] for answer in answers) == [*range(8, 20)]
        shown = (await http.get("/tasks/t/support")).json()
        assert close(shown["support"]["targets"], sine(20)["targets"][12:])
        path = "/tasks/t/support/0"
        answers = await asyncio.gather(*(http.delete(path, params={"if_revision": 13}) for _ in range(6)))
        assert sorted(answer.status_code for answer in answers) == [200] + [409] * 5


async def test_a_row_stays_when_its_turn_comes_too_late(tmp_path: Path) -> None:
    async with served(tmp_path) as (http, context):
        await http.post("/adapt", json={"task_id": "t", "support": sine(5), "estimate": False})
        timeout = {"X-Request-Timeout-Ms": "50"}
        with context.turns.caller() as another:
            await another.wait(("default", "t"), None)
            problem_of(await http.delete("/tasks/t/support/0", headers=timeout), 504, "deadline-exceeded")
        wrong = await http.delete("/tasks/t/support/0", headers={"X-Request-Timeout-Ms": "soon"})
        problem_of(wrong, 400, "bad-request")
        assert (await http.get("/tasks/t")).json()["support_size"] == 5
        late = await http.delete("/tasks/t/support/0", headers={"X-Request-Timeout-Ms": "60000"})
        assert late.json()["support_size"] == 4


async def test_a_row_goes_while_others_are_appended_and_predicted_with(tmp_path: Path) -> None:
    async with served(tmp_path) as (http, context):
        await http.post("/adapt", json={"task_id": "t", "support": sine(10), "estimate": False})
        append = {"task_id": "t", "support": sine(1), "append": True, "estimate": False}
        calls = []
        for _ in range(6):
            calls += [http.delete("/tasks/t/support/0"), http.post("/adapt", json=append)]
            calls.append(http.post("/predict", json={"task_id": "t", "inputs": QUERY}))
        answers = await asyncio.gather(*calls)
        assert {answer.status_code for answer in answers} == {200, 201}
        task = (await http.get("/tasks/t")).json()
        assert (task["revision"], task["support_size"]) == (13, 10)
        assert len((await http.get("/tasks/t/support")).json()["support"]["inputs"]) == 10
        assert context.turns.held() == []
