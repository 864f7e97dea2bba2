"""Claims about /adapt and /predict for classification, on the shipped `omniglot-5way`."""

from typing import Any

import httpx
import numpy as np
import pytest

from tests.api.asking import adapt, close, predict, state_of
from tests.api.drawings import MODEL, rows_of

NAMES = ["alpha", "beta", "gamma", "delta", "epsilon"]
QUERY = rows_of(NAMES, [2] * 5, first=10)
FIELDS = {"task_id", "revision", "model", "model_version", "labels", "probabilities", "classes", "timing_ms"}


def test_answer_has_the_fields_of_the_contract(http: httpx.Client, task_id: str) -> None:
    adapt(http, task_id=task_id, model=MODEL, support=rows_of(NAMES, [1] * 5))
    response = http.post("/predict", json={"task_id": task_id, "inputs": QUERY["inputs"][:1]})
    assert set(response.json()) == FIELDS


@pytest.mark.parametrize(
    "names",
    [
        NAMES,
        ["zeta", "Alpha", "", "é ✓", "a/b\n"],
        [7, 3, 0, -1, 2**53 + 1],
        ["1", "2", "3", "4", "5"],
        [-(2**63) + 1, 2**63 - 1, 1, 2, 3],
    ],
    ids=["words", "odd words", "integers", "digits", "large integers"],
)
def test_five_drawings_a_class_tell_new_drawings_apart(http: httpx.Client, task_id: str, names: list[Any]) -> None:
    answer = adapt(http, task_id=task_id, model=MODEL, support=rows_of(names, [5] * 5))
    assert (answer.classes, answer.support_size, answer.model) == (names, 25, MODEL)
    query = rows_of(names, [4] * 5, first=10)
    found = predict(http, task_id=task_id, inputs=query["inputs"])
    assert found.classes == names
    assert found.labels is not None
    right = sum(label == target for label, target in zip(found.labels, query["targets"], strict=True))
    assert right >= 18, f"{right} of 20 right; characters that look nothing alike"


@pytest.mark.parametrize("ways", [2, 3, 4, 5])
def test_fewer_classes_than_the_head_holds_are_all_there_is(http: httpx.Client, task_id: str, ways: int) -> None:
    names = NAMES[:ways]
    answer = adapt(http, task_id=task_id, model=MODEL, support=rows_of(names, [3] * ways))
    assert answer.classes == names
    found = predict(http, task_id=task_id, inputs=QUERY["inputs"])
    assert found.classes == names
    assert found.probabilities is not None
    assert np.shape(found.probabilities) == (10, ways)


def test_classes_are_in_order_of_first_appearance(http: httpx.Client, task_id: str) -> None:
    rows = rows_of(NAMES[:3], [2] * 3)
    order = [5, 1, 0, 2, 3, 4]
    support = {field: [values[i] for i in order] for field, values in rows.items()}
    expected = list(dict.fromkeys(support["targets"]))
    assert adapt(http, task_id=task_id, model=MODEL, support=support).classes == expected != NAMES[:3]


def test_order_of_rows_changes_the_order_of_classes_and_no_probability(http: httpx.Client) -> None:
    rows = rows_of(NAMES, [2] * 5)
    turned = {field: values[::-1] for field, values in rows.items()}
    one = predict(http, model=MODEL, support=rows, inputs=QUERY["inputs"])
    other = predict(http, model=MODEL, support=turned, inputs=QUERY["inputs"])
    assert other.classes == NAMES[::-1]
    assert one.probabilities is not None
    assert other.probabilities is not None
    assert close([row[::-1] for row in one.probabilities], other.probabilities, within=1e-3)


@pytest.mark.parametrize("shots", [[1] * 5, [1, 2, 3, 4, 5], [10, 1], [1, 1]], ids=str)
def test_any_number_of_shots_is_taken(http: httpx.Client, task_id: str, shots: list[int]) -> None:
    names = NAMES[: len(shots)]
    rows = rows_of(names, shots)
    answer = adapt(http, task_id=task_id, model=MODEL, support=rows)
    assert answer.support_size == sum(shots)
    found = predict(http, task_id=task_id, inputs=rows["inputs"])
    assert found.labels is not None
    right = sum(label == target for label, target in zip(found.labels, rows["targets"], strict=True))
    assert right >= 0.8 * sum(shots), "of the very rows it was adapted on"


@pytest.mark.parametrize("steps", [0, 1, 5])
def test_steps_count_from_the_initialisation(http: httpx.Client, task_id: str, steps: int) -> None:
    answer = adapt(http, task_id=task_id, model=MODEL, support=rows_of(NAMES, [1] * 5), steps=steps)
    assert answer.kept_step == steps


def test_validation_has_accuracy_before_and_after(http: httpx.Client, task_id: str) -> None:
    answer = adapt(http, task_id=task_id, model=MODEL, support=rows_of(NAMES, [3] * 5), validation=QUERY)
    assert answer.validation is not None
    assert answer.validation.before is not None
    found = predict(http, task_id=task_id, inputs=QUERY["inputs"])
    assert found.labels is not None
    assert found.probabilities is not None
    hits = [label == target for label, target in zip(found.labels, QUERY["targets"], strict=True)]
    assert answer.validation.after.accuracy == pytest.approx(np.mean(hits))
    of_target = [row[NAMES.index(name)] for row, name in zip(found.probabilities, QUERY["targets"], strict=True)]
    assert answer.validation.after.loss == pytest.approx(-np.log(of_target).mean(), rel=1e-3)
    assert answer.validation.before.accuracy is not None
    assert 0.0 <= answer.validation.before.accuracy <= 1.0


def test_validation_may_lack_classes_of_the_support(http: httpx.Client) -> None:
    answer = adapt(
        http, model=MODEL, support=rows_of(NAMES[:3], [1] * 3), validation=rows_of(["gamma", "alpha"], [1, 1])
    )
    assert answer.validation is not None
    assert answer.classes == NAMES[:3]


def test_stateless_predict_equals_adapt_and_predict(http: httpx.Client, task_id: str) -> None:
    rows = rows_of(NAMES[:4], [2, 1, 3, 1])
    adapt(http, task_id=task_id, model=MODEL, support=rows, steps=4)
    stored = predict(http, task_id=task_id, inputs=QUERY["inputs"])
    before = state_of(http)
    stateless = predict(http, model=MODEL, support=rows, steps=4, inputs=QUERY["inputs"])
    assert (stateless.task_id, stateless.revision) == (None, None)
    assert (stateless.labels, stateless.classes) == (stored.labels, stored.classes)
    assert close(stateless.probabilities, stored.probabilities)
    assert state_of(http) == before


def test_a_row_is_predicted_alike_in_any_company(http: httpx.Client, task_id: str) -> None:
    adapt(http, task_id=task_id, model=MODEL, support=rows_of(NAMES, [1] * 5))
    inputs = QUERY["inputs"][:3]
    blank, full = [[[0.0] * 28] * 28], [[[1.0] * 28] * 28]
    alone = [predict(http, task_id=task_id, inputs=[row]).probabilities for row in inputs]
    for company in ([*inputs], [*inputs, blank, full], [*inputs, *([blank] * 60)]):
        together = predict(http, task_id=task_id, inputs=company).probabilities
        assert together is not None
        assert close(together[:3], [row[0] for row in alone if row], within=1e-4)


def test_no_rows_to_predict_give_no_labels(http: httpx.Client, task_id: str) -> None:
    adapt(http, task_id=task_id, model=MODEL, support=rows_of(NAMES, [1] * 5))
    found = predict(http, task_id=task_id, inputs=[])
    assert (found.labels, found.probabilities, found.classes) == ([], [], NAMES)
