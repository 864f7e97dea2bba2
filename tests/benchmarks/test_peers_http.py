"""The peers answer right, so that what they are compared by is the same work on the same bodies."""

import httpx
import numpy as np
import orjson
import pytest
import torch
from fastapi import FastAPI
from torch.nn import functional

from benchmarks.load import Request, closed_loop
from benchmarks.peers_http import empty, large, naive
from benchmarks.peers_http.bodies import AdaptBody, PredictBody
from benchmarks.service import peer
from benchmarks.speed_parts.bodies import NUM_STEPS, adapt_requests, predict_requests
from benchmarks.speed_parts.idle import forward, initialisation, stepped
from innerloop.wire import AdaptAnswer, AdaptRequest, PredictRequest


def body_of(request: Request) -> bytes:
    return request.partition(b"\r\n\r\n")[2]


async def ask(app: FastAPI, path: str, body: bytes) -> httpx.Response:
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://peer") as client:
        return await client.post(path, content=body, headers={"Content-Type": "application/json"})


BODY = body_of(adapt_requests(1, estimate=False)[0])


@pytest.mark.parametrize("app", [naive.by_def, naive.by_async_def])
async def test_the_naive_app_takes_the_same_steps(app: FastAPI) -> None:
    answered = await ask(app, "/adapt", BODY)
    assert answered.status_code == 201
    support = orjson.loads(BODY)["support"]
    inputs, targets = torch.tensor(support["inputs"]), torch.tensor(support["targets"])[:, None]
    losses = [
        float(functional.mse_loss(forward(stepped(initialisation(), inputs, targets, steps), inputs), targets))
        for steps in range(NUM_STEPS + 1)
    ]
    assert np.allclose(answered.json()["support_loss"], losses, rtol=1e-4)


async def test_the_naive_app_answers_what_the_service_answers() -> None:
    answer = (await ask(naive.by_async_def, "/adapt", BODY)).json()
    assert set(answer) == set(AdaptAnswer.model_fields)
    AdaptAnswer.model_validate(answer)


async def test_the_naive_app_keeps_a_module_for_each_task() -> None:
    answers = [(await ask(naive.by_async_def, "/adapt", BODY)).json() for _ in range(2)]
    weights = [naive.tasks[answer["task_id"]].get_parameter("4.weight") for answer in answers]
    assert torch.equal(*weights)
    assert weights[0] is not weights[1]


@pytest.mark.parametrize(
    ("request_body", "path", "status"),
    [
        (BODY, "/adapt", 201),
        (body_of(predict_requests(1)[0]), "/predict", 200),
        (b'{"support": {"inputs": [["x"]], "targets": [1.0]}}', "/adapt", 422),
        (b'{"support": {"inputs": [[1.0]], "targets": [1.0]}, "owner": 1}', "/adapt", 422),
        (b'{"task_id": "a"}', "/predict", 422),
    ],
)
async def test_the_empty_endpoint_validates(request_body: bytes, path: str, status: int) -> None:
    assert (await ask(empty.app, path, request_body)).status_code == status


async def test_the_endpoints_of_large_bodies_read_all_of_it() -> None:
    assert (await ask(large.app, "/bytes", b"x" * 1000)).json() == {"bytes": 1000}
    assert (await ask(large.app, "/numbers", b'{"inputs": [[1.0, 2.0], [3, 4]]}')).json() == {"numbers": 4}


def test_peers_read_fields_that_the_service_has() -> None:
    assert set(AdaptBody.model_fields) <= set(AdaptRequest.model_fields)
    assert set(PredictBody.model_fields) <= set(PredictRequest.model_fields)


def test_what_is_sent_is_what_the_service_takes() -> None:
    for request in adapt_requests(3, estimate=False):
        AdaptRequest.model_validate_json(body_of(request))
    for request in predict_requests(3):
        PredictRequest.model_validate_json(body_of(request))


def test_a_peer_runs_in_a_process_of_its_own() -> None:
    with peer("empty") as server:
        load = closed_loop(server.port, iter(adapt_requests(20)), num_callers=2)
        assert server.cpu_seconds() > 0
    assert (load.num_answers, load.num_errors) == (20, 0)
    assert set(load.answers) == {b'{"revision":1}'}
