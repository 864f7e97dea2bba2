"""Claims about `estimate` and `familiarity` in the answer of /adapt."""

from typing import Any
from uuid import uuid4

import httpx
import numpy as np
import pytest

from tests.api.asking import adapt, close, outputs, predict, sine
from tests.api.drawings import MODEL, rows_of

NAMES = ["alpha", "beta", "gamma", "delta", "epsilon"]
NONE: dict[str, dict[str, Any]] = {
    "one row": {"support": sine(1)},
    "one row a class": {"model": MODEL, "support": rows_of(NAMES, [1] * 5)},
    "turned off": {"estimate": False},
}


def test_leaving_out_one_row_at_a_time_is_what_callers_could_do_themselves(http: httpx.Client) -> None:
    rows = sine(6)
    errors = []
    for left in range(6):
        rest = {field: values[:left] + values[left + 1 :] for field, values in rows.items()}
        errors.append(outputs(http, support=rest, inputs=[rows["inputs"][left]])[0][0] - rows["targets"][left])
    found = adapt(http, support=rows).estimate
    assert found is not None
    assert (found.method, found.folds, found.rows, found.accuracy) == ("leave_one_out", 6, 6, None)
    assert found.error == pytest.approx(np.square(errors).mean(), rel=1e-3)
    assert found.loss == pytest.approx(found.error)


def test_classes_are_left_out_row_by_row_together(http: httpx.Client) -> None:
    found = adapt(http, model=MODEL, support=rows_of(NAMES, [5] * 5)).estimate
    assert found is not None
    assert (found.method, found.folds, found.rows, found.error) == ("k_fold", 5, 25, None)
    assert found.accuracy is not None
    assert found.accuracy >= 0.9, "characters that look nothing alike"


def test_wrong_labels_show_in_the_estimate(http: httpx.Client) -> None:
    rows = rows_of(NAMES[:2], [6, 6])
    mixed = {**rows, "targets": [NAMES[i // 2 % 2] for i in range(12)]}
    right, wrong = (adapt(http, model=MODEL, support=support).estimate for support in (rows, mixed))
    assert right is not None
    assert wrong is not None
    assert right.accuracy == 1.0
    assert wrong.accuracy is not None
    assert wrong.accuracy <= 0.75


def test_only_rows_are_judged_whose_class_has_others(http: httpx.Client) -> None:
    found = adapt(http, model=MODEL, support=rows_of(NAMES[:3], [3, 1, 2])).estimate
    assert found is not None
    assert (found.folds, found.rows) == (3, 5)


@pytest.mark.parametrize("name", NONE)
def test_there_is_none_where_nothing_can_be_left_out_or_it_is_turned_off(http: httpx.Client, name: str) -> None:
    assert adapt(http, **NONE[name]).estimate is None


def test_without_steps_it_is_of_the_initialisation(http: httpx.Client) -> None:
    rows = sine(8)
    found = adapt(http, support=rows, steps=0).estimate
    alone = np.array(outputs(http, support=rows, steps=0, inputs=rows["inputs"]))[:, 0]
    assert found is not None
    assert found.error == pytest.approx(np.square(alone - rows["targets"]).mean(), rel=1e-3)
    assert adapt(http, support=rows, steps=1).estimate != found


def test_the_estimate_takes_no_part_in_adapting(http: httpx.Client) -> None:
    task_ids = [f"estimate-{uuid4().hex}" for _ in range(2)]
    with_it, without = (
        adapt(http, task_id=name, estimate=on) for name, on in zip(task_ids, (True, False), strict=True)
    )
    assert with_it.support_loss == without.support_loss
    one, other = (predict(http, task_id=name, inputs=[[0.3], [2.0]]).outputs for name in task_ids)
    assert close(one, other, within=0)


@pytest.mark.parametrize("at_first", [True, False], ids=["asked at first", "not asked at first"])
def test_a_cached_answer_has_the_estimate_when_it_is_asked_for(
    http: httpx.Client, task_id: str, at_first: bool
) -> None:
    first = adapt(http, task_id=task_id, estimate=at_first)
    assert (first.estimate is not None) == at_first
    again = adapt(http, status=200, task_id=task_id)
    off = adapt(http, status=200, task_id=task_id, estimate=False)
    assert (again.revision, off.revision, off.estimate) == (1, 1, None)
    assert again.estimate is not None
    assert again.estimate == (first.estimate if at_first else adapt(http).estimate)


def test_append_estimates_the_union(http: httpx.Client, task_id: str) -> None:
    rows = sine(8)
    adapt(http, task_id=task_id, support={field: values[:4] for field, values in rows.items()})
    rest = {field: values[4:] for field, values in rows.items()}
    union = adapt(http, task_id=task_id, support=rest, append=True).estimate
    assert union is not None
    assert union == adapt(http, support=rows).estimate


def test_a_repeated_request_repeats_the_estimate(http: httpx.Client, task_id: str) -> None:
    key = {"Idempotency-Key": uuid4().hex}
    answers = [http.post("/adapt", json={"task_id": task_id, "support": sine(5)}, headers=key).json() for _ in range(2)]
    assert answers[0] == answers[1]
    assert answers[0]["estimate"]["rows"] == 5


@pytest.mark.parametrize("size", [11, 300, 1000])
def test_many_rows_are_estimated_too(http: httpx.Client, size: int) -> None:
    found = adapt(http, support=sine(size), steps=2).estimate
    assert found is not None
    assert found.rows == size
    assert 2 <= found.folds <= 10
