"""Claims about rows: shapes, counts, targets and classes that do not fit are refused by their row."""

from typing import Any

import httpx
import pytest

from tests.api.asking import SUPPORT, Json, adapt, problem_of, sine
from tests.api.drawings import MODEL, rows_of
from tests.api.service import Service

NUMBERS = [0.5, 1.0]
GOOD: Json = {"inputs": [[1.0], [2.0]], "targets": NUMBERS}
WRONG_SHAPES: dict[str, tuple[list[Any], int, str, str]] = {
    "two numbers": ([[1.0], [2.0, 3.0]], 1, "2", "takes 1"),
    "three numbers everywhere": ([[1.0, 2.0, 3.0], [1.0, 2.0, 3.0]], 0, "3", "takes 1"),
    "no numbers": ([[1.0], []], 1, "0", "takes 1"),
    "no numbers everywhere": ([[], []], 0, "0", "takes 1"),
    "bare numbers": ([1.0, 2.0], 0, "bare", "takes 1"),
    "one bare number": ([[1.0], 2.0], 1, "bare", "takes 1"),
    "a level more": ([[1.0], [[2.0]]], 1, "[1, 1]", "takes 1"),
    "a level more everywhere": ([[[1.0]], [[2.0]]], 0, "[1, 1]", "takes 1"),
}
NO_NUMBERS: dict[str, Any] = {
    "null": [[1.0], [None]],
    "null row": [[1.0], None],
    "text": [[1.0], ["2.0"]],
    "text row": [[1.0], "2.0"],
    "boolean": [[1.0], [True]],
    "boolean row": [[1.0], False],
    "object": [[1.0], [{"x": 2.0}]],
    "object row": [[1.0], {"x": 2.0}],
    "ragged row": [[1.0], [[2.0], 3.0]],
}
NO_LISTS = [None, "x", 5, True, {}, {"0": [1.0]}]
WRONG_TARGETS: dict[str, tuple[list[Any], str]] = {
    "text": (["0.5", "1.0"], "invalid-targets"),
    "one text": ([0.5, "1.0"], "invalid-targets"),
    "boolean": ([0.5, True], "invalid-targets"),
    "null": ([0.5, None], "invalid-targets"),
    "object": ([0.5, {}], "invalid-targets"),
    "text in a row": ([[0.5], ["1.0"]], "invalid-targets"),
    "boolean in a row": ([[0.5], [True]], "invalid-targets"),
    "null in a row": ([[0.5], [None]], "invalid-targets"),
    "rows of two": ([[0.5, 1.0], [1.0, 2.0]], "shape-mismatch"),
    "numbers and rows": ([0.5, [1.0]], "shape-mismatch"),
    "rows and numbers": ([[0.5], 1.0], "shape-mismatch"),
    "a level more": ([[[0.5]], [[1.0]]], "shape-mismatch"),
    "empty row": ([[0.5], []], "shape-mismatch"),
}
WRONG_CLASSES: dict[str, list[Any]] = {
    "floats": [1.0, 2.0],
    "one float": [1, 2.5],
    "booleans": [True, False],
    "boolean and integer": [True, 2],
    "null": ["a", None],
    "text and integer": ["1", 2],
    "lists": [["a"], ["b"]],
    "one-hot": [[1, 0], [0, 1]],
    "objects": [{"name": "a"}, {"name": "b"}],
    "over 64 bits": [2**63, 1],
    "far over 64 bits": [10**30, 1],
    "very long names": ["a" * 10_000, "b"],
}


@pytest.fixture(scope="module")
def task(service: Service) -> str:
    return adapt(service.http, support=sine(3)).task_id


def _in_every_place(task: str, rows: Json) -> list[tuple[str, Json, str]]:
    """Return requests that hold rows as support, validation and stateless support, with the rows' name."""
    return [
        ("/adapt", {"task_id": task, "support": rows}, "support"),
        ("/adapt", {"task_id": task, "support": rows, "append": True}, "support"),
        ("/adapt", {"task_id": task, "support": SUPPORT, "validation": rows}, "validation"),
        ("/predict", {"support": rows, "inputs": [[1.0]]}, "support"),
    ]


@pytest.mark.usefixtures("nothing_changes")
@pytest.mark.parametrize("name", WRONG_SHAPES)
def test_a_wrong_shape_is_told_by_row_with_what_came_and_what_is_taken(
    http: httpx.Client, task: str, name: str
) -> None:
    inputs, row, came, taken = WRONG_SHAPES[name]
    requests = _in_every_place(task, {**GOOD, "inputs": inputs})
    for path, body, where in [*requests, ("/predict", {"task_id": task, "inputs": inputs}, "")]:
        detail = problem_of(http.post(path, json=body), 422, "shape-mismatch").detail
        assert f"{where}.inputs[{row}]".lstrip(".") in detail
        assert came in detail.replace(f"inputs[{row}]", "")
        assert f"sinusoid@1 {taken}" in detail


@pytest.mark.usefixtures("nothing_changes")
@pytest.mark.parametrize("name", NO_NUMBERS)
def test_what_is_no_number_is_told_by_row(http: httpx.Client, task: str, name: str) -> None:
    requests = _in_every_place(task, {**GOOD, "inputs": NO_NUMBERS[name]})
    for path, body, where in [*requests, ("/predict", {"task_id": task, "inputs": NO_NUMBERS[name]}, "")]:
        detail = problem_of(http.post(path, json=body), 422, "invalid-request").detail
        assert f"{where}.inputs[1]".lstrip(".") in detail


@pytest.mark.usefixtures("nothing_changes")
@pytest.mark.parametrize("value", NO_LISTS, ids=str)
def test_rows_are_lists(http: httpx.Client, task: str, value: Any) -> None:
    for field, code in (("inputs", "invalid-request"), ("targets", "invalid-targets")):
        for path, body, where in _in_every_place(task, {**GOOD, field: value}):
            assert f"{where}.{field}" in problem_of(http.post(path, json=body), 422, code).detail
    problem_of(http.post("/predict", json={"task_id": task, "inputs": value}), 422, "invalid-request")


@pytest.mark.usefixtures("nothing_changes")
def test_an_empty_support_is_refused(http: httpx.Client, task: str) -> None:
    for path, body, _ in _in_every_place(task, {"inputs": [], "targets": []}):
        problem_of(http.post(path, json=body), 422, "empty-support")
    body = {"model": MODEL, "support": {"inputs": [], "targets": []}}
    problem_of(http.post("/adapt", json=body), 422, "empty-support")


@pytest.mark.usefixtures("nothing_changes")
@pytest.mark.parametrize("num_targets", [0, 1, 3])
def test_rows_and_targets_are_as_many(http: httpx.Client, task: str, num_targets: int) -> None:
    for path, body, _ in _in_every_place(task, {**GOOD, "targets": [0.5] * num_targets}):
        detail = problem_of(http.post(path, json=body), 422, "shape-mismatch").detail
        assert "2" in detail
        assert str(num_targets) in detail


@pytest.mark.usefixtures("nothing_changes")
@pytest.mark.parametrize("name", WRONG_TARGETS)
def test_targets_of_regression_are_numbers(http: httpx.Client, task: str, name: str) -> None:
    targets, code = WRONG_TARGETS[name]
    for path, body, where in _in_every_place(task, {**GOOD, "targets": targets}):
        assert f"{where}.targets" in problem_of(http.post(path, json=body), 422, code).detail


@pytest.mark.usefixtures("nothing_changes")
@pytest.mark.parametrize("name", WRONG_CLASSES)
def test_class_names_are_all_strings_or_all_integers(http: httpx.Client, task: str, name: str) -> None:
    rows = {"inputs": rows_of(["a", "b"], [1, 1])["inputs"], "targets": WRONG_CLASSES[name]}
    for path, more in (("/adapt", {"task_id": task}), ("/predict", {"inputs": rows["inputs"][:1]})):
        response = http.post(path, json={"model": MODEL, "support": rows, **more})
        problem = problem_of(response, 422, "invalid-targets")
        assert "support.targets" in problem.detail
        assert len(problem.detail) < 1000


@pytest.mark.usefixtures("nothing_changes")
def test_one_class_is_too_few_and_six_are_too_many(http: httpx.Client, task: str) -> None:
    one, six = rows_of(["only"], [3]), rows_of([1, 2, 3, 4, 5, 6], [1] * 6)
    for rows, code, said in ((one, "too-few-classes", "two"), (six, "too-many-classes", "5")):
        for path, more in (("/adapt", {"task_id": task}), ("/predict", {"inputs": rows["inputs"][:1]})):
            response = http.post(path, json={"model": MODEL, "support": rows, **more})
            assert said in problem_of(response, 422, code).detail


@pytest.mark.usefixtures("nothing_changes")
def test_validation_names_classes_of_the_support(http: httpx.Client, task: str) -> None:
    body = {"task_id": task, "model": MODEL, "support": rows_of(["a", "b"], [1, 1])}
    for names, code in ((["b", "c"], "unknown-class"), ([1, 2], "invalid-targets")):
        response = http.post("/adapt", json={**body, "validation": rows_of(names, [1, 1])})
        assert "validation.targets" in problem_of(response, 422, code).detail


@pytest.mark.usefixtures("nothing_changes")
@pytest.mark.parametrize("num_rows", [1001, 10_001])
def test_too_many_rows_are_refused(http: httpx.Client, task: str, num_rows: int) -> None:
    rows = {"inputs": [[0.5]] * num_rows, "targets": [0.5] * num_rows}
    for path, more in (("/adapt", {"task_id": task}), ("/predict", {"inputs": [[1.0]]})):
        problem = problem_of(http.post(path, json={"support": rows, **more}), 413, "too-many-rows")
        assert str(num_rows) in problem.detail
    body = {"task_id": task, "inputs": [[0.5]] * 10_001}
    assert "10000" in problem_of(http.post("/predict", json=body), 413, "too-many-rows").detail
