"""Claims about supports that are well formed and odd: as many classes as rows, equal rows, nothing to tell apart by."""

from typing import Any

import httpx
import numpy as np
import pytest

from tests.api.asking import adapt, predict, problem_of, sine
from tests.api.drawings import MODEL, as_list, picture, rows_of

BLANK: Any = [[[1.0] * 28] * 28]
EQUAL: Any = as_list(picture(0, 0))


@pytest.mark.usefixtures("nothing_changes")
@pytest.mark.parametrize(
    ("targets", "code", "shown"),
    [
        ([f"class-{i}" for i in range(1000)], "too-many-classes", "1000 classes"),
        (["one"] * 1000, "too-few-classes", "'one'"),
        (list(range(101)), "too-many-classes", "101 classes"),
    ],
    ids=["a thousand classes with one row each", "one class with a thousand rows", "a class over the cap"],
)
def test_numbers_of_classes_that_no_model_takes_are_told(
    http: httpx.Client, targets: list[Any], code: str, shown: str
) -> None:
    support = {"inputs": [BLANK] * len(targets), "targets": targets}
    for path, more in (("/adapt", {"task_id": "odd"}), ("/predict", {"inputs": [BLANK]})):
        response = http.post(path, json={"model": MODEL, "support": support, **more})
        assert shown in problem_of(response, 422, code).detail


@pytest.mark.usefixtures("nothing_changes")
@pytest.mark.parametrize("targets", [["a", "c"], ["c", "a"], ["c"], ["b", "a", "c", "d"]], ids=str)
def test_a_class_in_validation_alone_is_named(http: httpx.Client, targets: list[str]) -> None:
    validation = {"inputs": [BLANK] * len(targets), "targets": targets}
    body = {"task_id": "odd", "model": MODEL, "support": rows_of(["a", "b"], [1, 1]), "validation": validation}
    assert "'c'" in problem_of(http.post("/adapt", json=body), 422, "unknown-class").detail


def test_a_class_in_validation_alone_is_taken_once_it_was_appended(http: httpx.Client, task_id: str) -> None:
    adapt(http, task_id=task_id, model=MODEL, support=rows_of(["a", "b"], [1, 1]))
    third = {"inputs": [as_list(picture(2, 0))], "targets": ["c"]}
    answer = adapt(http, task_id=task_id, support=third, append=True, validation=third)
    assert answer.classes == ["a", "b", "c"]
    assert answer.validation is not None


def test_equal_rows_with_different_labels_are_a_toss(http: httpx.Client, task_id: str) -> None:
    support = {"inputs": [EQUAL] * 4, "targets": ["a", "b", "a", "b"]}
    answer = adapt(http, task_id=task_id, model=MODEL, support=support)
    found = predict(http, task_id=task_id, inputs=[EQUAL])
    assert found.probabilities is not None
    assert np.allclose(found.probabilities, 0.5, atol=1e-3)
    assert answer.estimate is not None
    assert answer.estimate.loss == pytest.approx(np.log(2), rel=0.05)


def test_equal_rows_with_different_targets_give_their_mean(http: httpx.Client, task_id: str) -> None:
    answer = adapt(http, task_id=task_id, support={"inputs": [[1.0]] * 4, "targets": [0.0, 1.0, 0.0, 1.0]})
    outputs = predict(http, task_id=task_id, inputs=[[1.0]]).outputs
    assert outputs is not None
    assert np.allclose(outputs, 0.5, atol=0.15)
    assert answer.estimate is not None
    assert answer.estimate.error is not None
    assert answer.estimate.error >= 0.25


@pytest.mark.parametrize("tone", [0.0, 0.5, 1.0])
def test_rows_without_any_feature_are_taken(http: httpx.Client, task_id: str, tone: float) -> None:
    flat = [[[tone] * 28] * 28]
    support = {"inputs": [flat] * 6, "targets": ["a", "b", "c"] * 2}
    answer = adapt(http, task_id=task_id, model=MODEL, support=support)
    found = predict(http, task_id=task_id, inputs=[flat, EQUAL])
    assert found.probabilities is not None
    assert np.allclose(found.probabilities, 1 / 3, atol=1e-3)
    assert answer.estimate is not None
    assert answer.estimate.rows == 6


@pytest.mark.parametrize("targets", [[0.5] * 8, sine(8)["targets"]], ids=["constant targets", "other targets"])
def test_constant_inputs_are_taken(http: httpx.Client, task_id: str, targets: list[float]) -> None:
    answer = adapt(http, task_id=task_id, support={"inputs": [[2.0]] * 8, "targets": targets}, steps=5)
    outputs = predict(http, task_id=task_id, inputs=[[2.0], [-4.0]]).outputs
    assert outputs is not None
    assert np.isfinite(outputs).all()
    assert answer.estimate is not None
    assert answer.estimate.rows == 8
