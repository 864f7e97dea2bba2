"""Batches read back: answers as answers, problems as the errors that their codes name, in the order of asking."""

import httpx
import pytest

from innerloop import Client, calls, wire
from innerloop.errors import InvalidRequest, ShapeMismatch
from tests.innerloop.client_calls import PREDICTED, X

PROBLEM = {
    "type": "/problems/shape-mismatch",
    "title": "t",
    "status": 422,
    "code": "shape-mismatch",
    "detail": "inputs[0] has 2 numbers",
    "error": "inputs[0] has 2 numbers",
    "request_id": "r-1",
    "errors": [],
}


def test_a_problem_in_a_batch_is_an_error_in_its_place_and_is_not_raised() -> None:
    answers = [PREDICTED, PROBLEM, PREDICTED]
    transport = httpx.MockTransport(lambda request: httpx.Response(200, json=answers))
    with Client("http://service", transport=transport) as client:
        first, wrong, last = client.predict_batch([{"inputs": X, "task_id": "a"}] * 3)
    assert isinstance(first, wire.PredictAnswer)
    assert isinstance(last, wire.PredictAnswer)
    assert isinstance(wrong, ShapeMismatch)
    assert (wrong.detail, wrong.request_id) == ("inputs[0] has 2 numbers", "r-1")


@pytest.mark.parametrize("name", ["idempotency_key", "timeout_ms", "binary"])
def test_what_belongs_to_a_whole_request_is_refused_and_not_left_out(name: str) -> None:
    with pytest.raises(InvalidRequest, match=name):
        calls.adapt_batch([{"inputs": [[1.0]], "targets": [1.0], name: 1}])  # type: ignore[misc]
    with pytest.raises(InvalidRequest, match=name):
        calls.predict_batch([{"inputs": [[1.0]], "task_id": "t", name: 1}])  # type: ignore[misc]
