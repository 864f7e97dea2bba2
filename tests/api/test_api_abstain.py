"""Claims about `abstain_below` in /predict."""

from typing import Any

import httpx
import pytest

from innerloop.wire import PredictAnswer
from tests.api.asking import SUPPORT, adapt, predict, problem_of, sine
from tests.api.drawings import MODEL, rows_of

NAMES = ["a", "b", "c", "d", "e"]
ROWS = rows_of(NAMES, [2] * 5)
BLANK: Any = [[[1.0] * 28] * 28]
QUERY: list[Any] = [*rows_of(NAMES, [2] * 5, first=10)["inputs"], BLANK]


@pytest.fixture(params=["task", "stateless"])
def form(request: pytest.FixtureRequest, http: httpx.Client, task_id: str) -> dict[str, Any]:
    """Both ways to ask for the same predictions."""
    if request.param == "task":
        adapt(http, task_id=task_id, model=MODEL, support=ROWS)
        return {"task_id": task_id}
    return {"model": MODEL, "support": ROWS}


def abstained(http: httpx.Client, **body: Any) -> PredictAnswer:
    response = http.post("/predict", json=body)
    assert response.status_code == 200, response.text
    return PredictAnswer.model_validate_json(response.content)


@pytest.mark.parametrize("below", [0.3, 0.9, 0.999])
def test_rows_that_are_less_likely_have_no_label_and_nothing_else_changes(
    http: httpx.Client, form: dict[str, Any], below: float
) -> None:
    sure = predict(http, inputs=QUERY, **form)
    found = abstained(http, inputs=QUERY, abstain_below=below, **form)
    assert (found.probabilities, found.classes) == (sure.probabilities, sure.classes)
    assert sure.labels is not None
    assert sure.probabilities is not None
    likely = [max(row) >= below for row in sure.probabilities]
    assert found.labels == [name if keeps else None for name, keeps in zip(sure.labels, likely, strict=True)]


def test_a_blank_picture_has_no_label_where_drawings_have(http: httpx.Client, form: dict[str, Any]) -> None:
    probabilities = predict(http, inputs=QUERY, **form).probabilities
    assert probabilities is not None
    of_blank = max(probabilities[-1])
    assert of_blank < 1.0
    labels = abstained(http, inputs=QUERY, abstain_below=min(1.0, of_blank + 1e-4), **form).labels
    assert labels is not None
    assert labels[-1] is None
    assert any(label is not None for label in labels)


def test_a_row_is_not_below_its_own_probability(http: httpx.Client, form: dict[str, Any]) -> None:
    sure = predict(http, inputs=QUERY, **form)
    assert sure.probabilities is not None
    for i, row in enumerate(sure.probabilities):
        labels = abstained(http, inputs=QUERY, abstain_below=max(row), **form).labels
        assert labels is not None
        assert labels[i] == NAMES[row.index(max(row))]


@pytest.mark.parametrize("below", [None, 0, 0.0])
def test_below_nothing_every_row_has_its_label(http: httpx.Client, form: dict[str, Any], below: float | None) -> None:
    sure = predict(http, inputs=QUERY, **form)
    assert abstained(http, inputs=QUERY, abstain_below=below, **form).labels == sure.labels


def test_no_rows_have_no_labels(http: httpx.Client, form: dict[str, Any]) -> None:
    assert abstained(http, inputs=[], abstain_below=1, **form).labels == []


@pytest.mark.usefixtures("nothing_changes")
@pytest.mark.parametrize("below", [0, 0.5, 1])
def test_numbers_have_nothing_to_be_unsure_of(http: httpx.Client, below: float) -> None:
    response = http.post("/predict", json={"support": SUPPORT, "inputs": [[1.0]], "abstain_below": below})
    assert "leave abstain_below out" in problem_of(response, 422, "setting-not-supported").detail


def test_nor_do_those_of_a_task(http: httpx.Client, task_id: str) -> None:
    adapt(http, task_id=task_id, support=sine(3))
    response = http.post("/predict", json={"task_id": task_id, "inputs": [[1.0]], "abstain_below": 0.5})
    problem_of(response, 422, "setting-not-supported")
