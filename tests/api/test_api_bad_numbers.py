"""Claims about NaN, infinities and numbers too large for a float, in every place that holds a number."""

import json
from typing import Any

import httpx
import pytest

from tests.api.asking import JSON, SUPPORT, problem_of
from tests.api.drawings import MODEL, rows_of

HERE = "@here@"
TASK = {"task_id": "bad-numbers"}
ROWS_OF_ADAPT: dict[str, dict[str, Any]] = {
    "support input": {"support": {"inputs": [[1.0], [HERE]], "targets": [0.5, 1.0]}},
    "support target": {"support": {"inputs": [[1.0], [2.0]], "targets": [0.5, HERE]}},
    "support target in a row": {"support": {"inputs": [[1.0], [2.0]], "targets": [[0.5], [HERE]]}},
    "validation input": {"support": SUPPORT, "validation": {"inputs": [[HERE]], "targets": [0.5]}},
    "validation target": {"support": SUPPORT, "validation": {"inputs": [[1.0]], "targets": [HERE]}},
}
ROWS_OF_PREDICT: dict[str, dict[str, Any]] = {
    "stateless input": {"support": SUPPORT, "inputs": [[1.0], [HERE]]},
    "stateless support": {"support": {"inputs": [[HERE]], "targets": [0.5]}, "inputs": [[1.0]]},
    "stateless target": {"support": {"inputs": [[1.0]], "targets": [HERE]}, "inputs": [[1.0]]},
}
OTHERS_OF_ADAPT: dict[str, dict[str, Any]] = {
    field: {"support": SUPPORT, field: HERE}
    for field in ("steps", "learning_rate", "learning_rate_scale", "ttl_seconds", "if_revision", "append", "task_id")
} | {
    "class name": {"model": MODEL, "support": {**rows_of(["a", "b"], [1, 1]), "targets": [HERE, 1]}},
    "unknown field": {"support": SUPPORT, "extra": HERE},
    "unknown field, nested": {"support": {**SUPPORT, "extra": [[{"a": HERE}]]}},
}
NOT_NUMBERS = ["NaN", "Infinity", "-Infinity"]
TOO_LARGE = {"1e400": "1e400", "-1e400": "-1e400", "5000 digits": "9" * 5000, "minus 5000 digits": "-" + "9" * 5000}
LITERALS = {**{text: text for text in NOT_NUMBERS}, **TOO_LARGE}
OVER_FLOAT32 = ["1e39", "-1e39", "3.5e38", "1" + "0" * 39, "1e308"]


def _post(http: httpx.Client, path: str, body: dict[str, Any], literal: str) -> httpx.Response:
    whole = {**body, **({} if path == "/predict" or "task_id" in body else TASK)}
    return http.post(path, content=json.dumps(whole).replace(f'"{HERE}"', literal), headers=JSON)


@pytest.mark.usefixtures("nothing_changes")
@pytest.mark.parametrize("place", [*ROWS_OF_ADAPT, *OTHERS_OF_ADAPT])
@pytest.mark.parametrize("literal", LITERALS)
def test_adapt_takes_finite_numbers_alone(http: httpx.Client, place: str, literal: str) -> None:
    body = (ROWS_OF_ADAPT | OTHERS_OF_ADAPT)[place]
    problem_of(_post(http, "/adapt", body, LITERALS[literal]), 422, "not-finite")


@pytest.mark.usefixtures("nothing_changes")
@pytest.mark.parametrize("place", [*ROWS_OF_PREDICT, "revision", "abstain_below"])
@pytest.mark.parametrize("literal", LITERALS)
def test_predict_takes_finite_numbers_alone(http: httpx.Client, place: str, literal: str) -> None:
    body = ROWS_OF_PREDICT.get(place, {"task_id": "bad-numbers", "inputs": [[1.0]], place: HERE})
    problem_of(_post(http, "/predict", body, LITERALS[literal]), 422, "not-finite")


@pytest.mark.usefixtures("nothing_changes")
@pytest.mark.parametrize("place", [*ROWS_OF_ADAPT, *ROWS_OF_PREDICT])
@pytest.mark.parametrize("literal", OVER_FLOAT32, ids=range(len(OVER_FLOAT32)))
def test_numbers_too_large_for_float32_are_named(http: httpx.Client, place: str, literal: str) -> None:
    path = "/adapt" if place in ROWS_OF_ADAPT else "/predict"
    body = (ROWS_OF_ADAPT | ROWS_OF_PREDICT)[place]
    detail = problem_of(_post(http, path, body, literal), 422, "not-finite").detail
    field = "targets" if "target" in place else "inputs"
    row = 1 if place in ("support input", "support target", "support target in a row", "stateless input") else 0
    assert f"{field}[{row}]" in detail


@pytest.mark.parametrize(
    "literal", ["1e-400", "-0.0", "1E2", "0.1e+1", "100000000000000000000", "18446744073709551615"]
)
def test_odd_but_finite_numbers_are_read(http: httpx.Client, literal: str) -> None:
    body = {"support": SUPPORT, "steps": 0, "inputs": [[1.0], [HERE]]}
    response = _post(http, "/predict", body, literal)
    assert response.status_code == 200, response.text


@pytest.mark.usefixtures("nothing_changes")
@pytest.mark.parametrize("literal", [*LITERALS, "1e39"])
def test_pictures_hold_finite_numbers(http: httpx.Client, literal: str) -> None:
    rows = rows_of(["a", "b"], [1, 1])
    rows["inputs"][1][0][3][4] = HERE
    response = _post(http, "/adapt", {"model": MODEL, "support": rows}, LITERALS.get(literal, literal))
    problem_of(response, 422, "not-finite")


@pytest.mark.parametrize("version", LITERALS)
def test_versions_are_finite_numbers(http: httpx.Client, version: str) -> None:
    body = b'{"version": ' + LITERALS[version].encode() + b"}"
    problem_of(http.post("/models/sinusoid/promote", content=body, headers=JSON), 422, "not-finite")
