"""Claims about `append` and `if_revision`."""

from typing import Any

import httpx
import pytest

from tests.api.asking import adapt, close, defaults_of, outputs, predict, problem_of, sine
from tests.api.drawings import MODEL, rows_of

QUERY = [[-3.3], [0.2], [2.1], [4.0]]
MORE = sine(3, amplitude=1.0, phase=1.0)


def _union(first: dict[str, Any], second: dict[str, Any]) -> dict[str, Any]:
    return {field: [*first[field], *second[field]] for field in first}


def test_appending_equals_adapting_on_all_rows_at_once(http: httpx.Client, task_id: str) -> None:
    adapt(http, task_id=task_id, support=sine(5))
    answer = adapt(http, task_id=task_id, support=MORE, append=True)
    assert (answer.revision, answer.support_size) == (2, 8)
    at_once = adapt(http, support=_union(sine(5), MORE))
    assert close(answer.support_loss, at_once.support_loss)
    assert close(
        outputs(http, task_id=task_id, inputs=QUERY),
        outputs(http, task_id=at_once.task_id, inputs=QUERY),
    )


def test_appending_row_by_row_equals_adapting_on_all_rows_at_once(http: httpx.Client, task_id: str) -> None:
    rows = sine(5)
    for i in range(5):
        one = {field: values[i : i + 1] for field, values in rows.items()}
        adapt(http, task_id=task_id, support=one, append=i > 0)
    assert close(outputs(http, task_id=task_id, inputs=QUERY), outputs(http, support=rows, inputs=QUERY), within=1e-5)


def test_equal_rows_count_again(http: httpx.Client, task_id: str) -> None:
    adapt(http, task_id=task_id, support=MORE)
    answer = adapt(http, task_id=task_id, support=MORE, append=True)
    assert (answer.revision, answer.support_size, answer.cached) == (2, 6, False)


def test_append_goes_from_the_latest_revision(http: httpx.Client, task_id: str) -> None:
    adapt(http, task_id=task_id, support=sine(5))
    adapt(http, task_id=task_id, support=sine(2))
    assert adapt(http, task_id=task_id, support=MORE, append=True).support_size == 5


def test_append_takes_settings_of_its_own(http: httpx.Client, task_id: str) -> None:
    adapt(http, task_id=task_id, steps=23)
    assert adapt(http, task_id=task_id, support=MORE, append=True).steps == defaults_of(http)["steps"]


def test_new_classes_may_come_with_appended_rows(http: httpx.Client, task_id: str) -> None:
    first = rows_of(["a", "b"], [2, 2])
    second = rows_of(["a", "b", "c", "d"], [0, 1, 2, 1], first=5)
    adapt(http, task_id=task_id, model=MODEL, support=first)
    answer = adapt(http, task_id=task_id, support=second, append=True)
    assert (answer.classes, answer.support_size, answer.model) == (["a", "b", "c", "d"], 8, MODEL)
    query = rows_of(["a", "b", "c", "d"], [1] * 4, first=9)["inputs"]
    at_once = predict(http, model=MODEL, support=_union(first, second), inputs=query)
    stored = predict(http, task_id=task_id, inputs=query)
    assert close(stored.probabilities, at_once.probabilities)
    assert predict(http, task_id=task_id, revision=1, inputs=query).classes == ["a", "b"]


def test_one_new_class_alone_may_be_appended(http: httpx.Client, task_id: str) -> None:
    adapt(http, task_id=task_id, model=MODEL, support=rows_of(["a", "b"], [1, 1]))
    answer = adapt(http, task_id=task_id, support=rows_of(["a", "b", "c"], [0, 0, 1]), append=True)
    assert answer.classes == ["a", "b", "c"]


@pytest.mark.parametrize(
    ("names", "code"),
    [(["c", "d", "e", "f"], "too-many-classes"), ([1, 2], "invalid-targets")],
    ids=["over the head", "another kind of name"],
)
def test_appended_classes_are_held_against_those_of_the_task(
    http: httpx.Client, task_id: str, names: list[Any], code: str
) -> None:
    adapt(http, task_id=task_id, model=MODEL, support=rows_of(["a", "b"], [1, 1]))
    body = {"task_id": task_id, "support": rows_of(names, [1] * len(names)), "append": True}
    problem_of(http.post("/adapt", json=body), 422, code)
    assert http.get(f"/tasks/{task_id}").json()["revision"] == 1


def test_there_must_be_a_task_to_append_to(http: httpx.Client, task_id: str) -> None:
    for body in ({"task_id": task_id}, {}):
        response = http.post("/adapt", json={**body, "support": MORE, "append": True})
        problem_of(response, 404, "task-not-found")
    problem_of(http.get(f"/tasks/{task_id}"), 404, "task-not-found")


@pytest.mark.parametrize("model", [MODEL, f"{MODEL}@1"])
def test_append_under_another_model_is_refused(http: httpx.Client, task_id: str, model: str) -> None:
    adapt(http, task_id=task_id)
    body = {"task_id": task_id, "model": model, "support": rows_of(["a", "b"], [1, 1]), "append": True}
    problem_of(http.post("/adapt", json=body), 422, "model-mismatch")


@pytest.mark.parametrize("model", ["sinusoid", "sinusoid@1"])
def test_append_may_name_the_model_of_the_task(http: httpx.Client, task_id: str, model: str) -> None:
    adapt(http, task_id=task_id)
    assert adapt(http, task_id=task_id, model=model, support=MORE, append=True).support_size == 8


def test_a_task_keeps_its_model_until_another_is_named(http: httpx.Client, task_id: str) -> None:
    adapt(http, task_id=task_id, model=MODEL, support=rows_of(["a", "b"], [1, 1]))
    assert adapt(http, task_id=task_id, support=rows_of(["a", "b"], [2, 2])).model == MODEL
    moved = adapt(http, task_id=task_id, model="sinusoid", support=MORE)
    assert (moved.model, moved.revision) == ("sinusoid", 3)
    assert http.get(f"/tasks/{task_id}").json()["model"] == "sinusoid"
    inputs = rows_of(["a"], [1])["inputs"]
    assert predict(http, task_id=task_id, revision=1, inputs=inputs).classes == ["a", "b"]


def test_if_revision_lets_the_latest_through_alone(http: httpx.Client, task_id: str) -> None:
    adapt(http, task_id=task_id, if_revision=0, support=sine(4))
    adapt(http, task_id=task_id, if_revision=1, support=sine(5))
    adapt(http, task_id=task_id, if_revision=2, support=MORE, append=True)
    for wrong in (0, 1, 2, 4, 2**63 - 1):
        for append in (False, True):
            body = {"task_id": task_id, "support": sine(6), "if_revision": wrong, "append": append}
            assert "3" in problem_of(http.post("/adapt", json=body), 409, "revision-conflict").detail
    assert http.get(f"/tasks/{task_id}").json()["revision"] == 3
    assert adapt(http, status=200, task_id=task_id, if_revision=3, support=_union(sine(5), MORE)).revision == 3


def test_if_revision_of_a_task_that_is_not_there_is_a_conflict(http: httpx.Client, task_id: str) -> None:
    body = {"task_id": task_id, "support": MORE, "if_revision": 1}
    problem_of(http.post("/adapt", json=body), 409, "revision-conflict")
    problem_of(http.get(f"/tasks/{task_id}"), 404, "task-not-found")


def test_support_grows_to_its_limit_and_no_further(http: httpx.Client, task_id: str) -> None:
    adapt(http, task_id=task_id, support=sine(999), steps=0)
    adapt(http, task_id=task_id, support=sine(1), steps=0, append=True)
    body = {"task_id": task_id, "support": sine(1), "steps": 0, "append": True}
    assert "1000" in problem_of(http.post("/adapt", json=body), 413, "too-many-rows").detail
    assert http.get(f"/tasks/{task_id}").json()["support_size"] == 1000
