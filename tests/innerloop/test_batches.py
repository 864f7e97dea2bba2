"""Batches read back: answers as answers, problems as the errors that their codes name, in the order of asking."""

import httpx

from innerloop import Client, wire
from innerloop.errors import ShapeMismatch
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
