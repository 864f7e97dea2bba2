"""Claims about fields: unknown ones, wrong types, values out of range, ids that are none, in body and path."""

import copy
from types import SimpleNamespace
from typing import Any
from urllib.parse import quote

import httpx
import pytest

from innerloop.wire import Problem
from tests.api.asking import SUPPORT, adapt, problem_of

Place = tuple[str, ...]
ABSENT = SimpleNamespace()
WRONG_BY_PLACE: dict[Place, list[Any]] = {
    ("extra",): [1, None],
    ("Steps",): [1],
    ("inputs",): [[[1.0]]],
    ("revision",): [1],
    ("support", "weights"): [[1, 1]],
    ("validation", "weights"): [[1]],
    ("steps",): [-1, 1.5, 1.0, "5", "", True, False, [], [5], {}, 10**30, 2**63],
    ("learning_rate",): [0, 0.0, -0.0, -0.1, "0.1", True, [0.1], {}],
    ("learning_rate_scale",): [0, -1, -1e-300, "1", False, [1]],
    ("append",): [1, 0, "true", "", None, []],
    ("ttl_seconds",): [0, -5, 1.5, 60.0, "60", True, 10**12, 2**63, []],
    ("if_revision",): [-1, 1.0, "1", True, 2**63, []],
    ("estimate",): [1, 0, "true", "", None, [], {"folds": 5}],
    ("abstain_below",): [0.5],
    ("on_divergence",): ["ignore", "", None, True, 1, ["best"]],
    ("task_id",): [5, 1.5, True, [], {}, ["a"]],
    ("model",): [5, True, [], {}, {"name": "sinusoid"}],
    ("support",): [ABSENT, None, [], "x", 5, True, [SUPPORT]],
    ("validation",): [[], "x", 5, True],
    ("support", "inputs"): [ABSENT],
    ("support", "targets"): [ABSENT],
    ("validation", "inputs"): [ABSENT],
    ("validation", "targets"): [ABSENT],
}
WRONG_ADAPT = [(place, value) for place, values in WRONG_BY_PLACE.items() for value in values]
PREDICT_BY_PLACE: dict[Place, list[Any]] = {
    ("extra",): [1, None],
    ("append",): [True],
    ("validation",): [SUPPORT],
    ("ttl_seconds",): [60],
    ("if_revision",): [1],
    ("revision",): [0, -1, 1.0, "1", True, 2**63, []],
    ("task_id",): [5, [], {}],
    ("inputs",): [ABSENT],
    ("estimate",): [True, False],
    ("abstain_below",): [-0.1, -1e-300, 1.1, 2, 2**63, "0.5", True, [], [0.5], {}],
}
WRONG_PREDICT = [(place, value) for place, values in PREDICT_BY_PLACE.items() for value in values]
TOO_LARGE: list[tuple[str, Any, str]] = [
    ("steps", 101, "steps-over-limit"),
    ("steps", 2**63 - 1, "steps-over-limit"),
    ("learning_rate", 10.1, "setting-out-of-range"),
    ("learning_rate", 1e39, "setting-out-of-range"),
    ("learning_rate", 1e300, "setting-out-of-range"),
    ("learning_rate_scale", 101, "setting-out-of-range"),
    ("learning_rate_scale", 1e39, "setting-out-of-range"),
]
NO_IDS = [
    "", "../x", "..", ".", "%2e%2e", "a/b", "a\\b", "a\0", "\0", "x" * 65, "x" * 300, "a\n", "\na", " a", "a ", "a b",
    "a.b", "é", "а", "a\u200b", "a:b", "a;drop table tasks", "*", "a@1", "$(id)", "<a>", "\ufeffa", "a\x7f",
]  # fmt: skip
NO_MODELS = [
    *(name for name in NO_IDS if name != "a@1"),
    "sinusoid@", "sinusoid@0", "sinusoid@-1", "sinusoid@1.0", "sinusoid@01", "sinusoid@latest", "sinusoid@1@1", "@1",
    "sinusoid@9999999999", "sinusoid @1", "sinusoid@1\n",
]  # fmt: skip


def _edited(body: dict[str, Any], place: Place, value: Any) -> dict[str, Any]:
    edited = copy.deepcopy(body)
    inner = edited
    for name in place[:-1]:
        inner = inner.setdefault(name, {"inputs": [[1.0]], "targets": [1.0]})
    if value is ABSENT:
        del inner[place[-1]]
    else:
        inner[place[-1]] = value
    return edited


def _names(problem: Problem, place: Place) -> bool:
    """Tell whether both the errors and the sentence name a place."""
    found = any(tuple(field.loc[: len(place)]) == place and field.msg for field in problem.errors)
    return found and ".".join(place) in problem.detail


@pytest.mark.usefixtures("nothing_changes")
@pytest.mark.parametrize(("place", "value"), WRONG_ADAPT, ids=str)
def test_wrong_fields_of_adapt_are_named(http: httpx.Client, place: Place, value: Any) -> None:
    body = _edited({"task_id": "bad-fields", "support": SUPPORT}, place, value)
    problem = problem_of(http.post("/adapt", json=body), 422, "invalid-request")
    assert _names(problem, place), problem


@pytest.mark.usefixtures("nothing_changes")
@pytest.mark.parametrize(("place", "value"), WRONG_PREDICT, ids=str)
def test_wrong_fields_of_predict_are_named(http: httpx.Client, place: Place, value: Any) -> None:
    body = _edited({"task_id": "bad-fields", "inputs": [[1.0]]}, place, value)
    problem = problem_of(http.post("/predict", json=body), 422, "invalid-request")
    assert _names(problem, place), problem


@pytest.mark.parametrize(
    "fields",
    [{}, {"task_id": "t", "support": SUPPORT}, {"task_id": "t", "model": "sinusoid"}, {"task_id": "t", "steps": 1},
     {"task_id": "t", "learning_rate": 0.1}, {"support": SUPPORT, "revision": 1}, {"model": "sinusoid"},
     {"support": SUPPORT, "validation": SUPPORT}, {"task_id": None}],
    ids=str,
)  # fmt: skip
def test_predict_has_one_of_two_forms(http: httpx.Client, fields: dict[str, Any]) -> None:
    problem_of(http.post("/predict", json={**fields, "inputs": [[1.0]]}), 422, "invalid-request")


@pytest.mark.usefixtures("nothing_changes")
@pytest.mark.parametrize(("field", "value", "code"), TOO_LARGE)
def test_settings_over_their_limit_are_told_it(http: httpx.Client, field: str, value: Any, code: str) -> None:
    for path, more in (("/adapt", {"task_id": "bad-fields"}), ("/predict", {"inputs": [[1.0]]})):
        problem = problem_of(http.post(path, json={"support": SUPPORT, field: value, **more}), 422, code)
        assert field in problem.detail
        assert "at most" in problem.detail


@pytest.mark.usefixtures("nothing_changes")
def test_rate_and_scale_exclude_each_other(http: httpx.Client) -> None:
    body = {"support": SUPPORT, "learning_rate": 0.1, "learning_rate_scale": 1.0}
    response = http.post("/adapt", json=body)
    problem_of(response, 422, response.json()["code"])


@pytest.mark.usefixtures("nothing_changes")
@pytest.mark.parametrize("name", NO_IDS, ids=ascii)
def test_ids_that_are_none_are_refused_in_a_body(http: httpx.Client, name: str) -> None:
    problem_of(http.post("/adapt", json={"task_id": name, "support": SUPPORT}), 422, "invalid-id")
    problem_of(http.post("/predict", json={"task_id": name, "inputs": [[1.0]]}), 422, "invalid-id")


@pytest.mark.usefixtures("nothing_changes")
@pytest.mark.parametrize("name", NO_MODELS, ids=ascii)
def test_models_that_are_none_are_refused_in_a_body(http: httpx.Client, name: str) -> None:
    problem_of(http.post("/adapt", json={"model": name, "support": SUPPORT}), 422, "invalid-id")
    stateless = {"model": name, "support": SUPPORT, "inputs": [[1.0]]}
    problem_of(http.post("/predict", json=stateless), 422, "invalid-id")


@pytest.mark.usefixtures("nothing_changes")
@pytest.mark.parametrize("name", [name for name in NO_IDS if name], ids=ascii)
def test_ids_that_are_none_are_refused_in_a_path(http: httpx.Client, name: str) -> None:
    part = quote(name, safe="") if set(name) - {"."} else name.replace(".", "%2e")
    for method, path in (
        ("GET", f"/tasks/{part}"), ("DELETE", f"/tasks/{part}"), ("GET", f"/tasks/{part}/revisions"),
        ("GET", f"/models/{part}"), ("POST", f"/models/{part}/promote"),
    ):  # fmt: skip
        response = http.request(method, path, json={"version": 1} if method == "POST" else None)
        if "/" in name:
            problem_of(response, 404, "route-not-found")
        else:
            problem_of(response, 422, "invalid-id")


@pytest.mark.usefixtures("nothing_changes")
def test_tasks_that_are_not_there_are_not_found(http: httpx.Client) -> None:
    for name in ("none-such", "x" * 64, "-", "_", "0"):
        problem_of(http.get(f"/tasks/{name}"), 404, "task-not-found")
        problem_of(http.post("/predict", json={"task_id": name, "inputs": [[1.0]]}), 404, "task-not-found")


@pytest.mark.parametrize("name", ["x" * 64, "-", "_", "0", "A-z_9", "None", "null"])
def test_every_id_of_the_pattern_is_taken(http: httpx.Client, name: str) -> None:
    assert adapt(http, task_id=name, steps=0).task_id == name
    assert http.delete(f"/tasks/{name}").status_code == 204
