"""Many calls in one request: answered in order, each by itself."""

from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from pydantic import TypeAdapter

from innerloop.wire import AdaptAnswer, PredictAnswer, Problem
from tests.api.asking import close, outputs, problem_of, sine
from tests.api.service import Service, start_service

ADAPTED = TypeAdapter(list[AdaptAnswer | Problem])
PREDICTED = TypeAdapter(list[PredictAnswer | Problem])


def adapt_batch(http: httpx.Client, bodies: list[Any], **headers: str) -> list[AdaptAnswer | Problem]:
    answer = http.post("/adapt/batch", json=bodies, headers=headers)
    assert answer.status_code == 200, answer.text
    return ADAPTED.validate_json(answer.content)


def predict_batch(http: httpx.Client, bodies: list[Any]) -> list[PredictAnswer | Problem]:
    answer = http.post("/predict/batch", json=bodies)
    assert answer.status_code == 200, answer.text
    return PREDICTED.validate_json(answer.content)


def test_many_tasks_are_adapted_and_predicted_in_the_order_of_asking(http: httpx.Client, task_id: str) -> None:
    amplitudes = [0.5, 1.0, 2.0, 4.0]
    bodies = [
        {"task_id": f"{task_id[:50]}-{i}", "support": sine(5 + i, amplitude=amplitude)}
        for i, amplitude in enumerate(amplitudes)
    ]
    answers = adapt_batch(http, bodies)
    assert [answer.task_id for answer in answers if isinstance(answer, AdaptAnswer)] == [b["task_id"] for b in bodies]
    asked = [{"task_id": body["task_id"], "inputs": [[0.5], [1.5]][: 1 + i % 2]} for i, body in enumerate(bodies)]
    for body, answer in zip(asked, predict_batch(http, asked), strict=True):
        assert isinstance(answer, PredictAnswer)
        assert answer.task_id == body["task_id"]
        assert close(answer.outputs, outputs(http, **body))


def test_one_that_is_wrong_gets_its_problem_and_its_neighbours_their_answers(http: httpx.Client, task_id: str) -> None:
    fine = {"support": sine(5)}
    wrong: list[tuple[Any, int, str]] = [
        ({"support": {"inputs": [[1.0, 2.0]], "targets": [1.0]}}, 422, "shape-mismatch"),
        ({"support": sine(5), "owner": "me"}, 422, "invalid-request"),
        ({"support": sine(5), "model": "nobody"}, 404, "model-not-found"),
        ({"support": sine(5), "learning_rate": 10.0, "steps": 100}, 422, "diverged"),
        ({"support": sine(5), "task_id": task_id, "append": True}, 404, "task-not-found"),
        ([1, 2], 422, "invalid-request"),
        ("text", 422, "invalid-request"),
        (None, 422, "invalid-request"),
    ]
    bodies = [body for one, _, _ in wrong for body in (fine, one)]
    answers = adapt_batch(http, bodies, **{"X-Request-ID": "batch-1"})
    assert all(isinstance(answer, AdaptAnswer) for answer in answers[::2])
    for (_, status, code), answer in zip(wrong, answers[1::2], strict=True):
        assert isinstance(answer, Problem)
        assert (answer.status, answer.code, answer.request_id) == (status, code, "batch-1")


def test_calls_for_one_task_run_one_after_the_other(http: httpx.Client, task_id: str) -> None:
    answers = adapt_batch(http, [{"task_id": task_id, "support": sine(n)} for n in range(2, 10)])
    assert sorted(answer.revision for answer in answers if isinstance(answer, AdaptAnswer)) == list(range(1, 9))


def test_stateless_predictions_and_tasks_may_be_mixed(http: httpx.Client, task_id: str) -> None:
    adapt_batch(http, [{"task_id": task_id, "support": sine(5)}])
    stored, stateless, missing = predict_batch(
        http,
        [
            {"task_id": task_id, "inputs": [[1.0]]},
            {"support": sine(5), "inputs": [[1.0]]},
            {"task_id": "nobody-has-this", "inputs": [[1.0]]},
        ],
    )
    assert isinstance(stored, PredictAnswer)
    assert isinstance(stateless, PredictAnswer)
    assert close(stored.outputs, stateless.outputs)
    assert isinstance(missing, Problem)
    assert missing.code == "task-not-found"


@pytest.mark.parametrize("path", ["/adapt/batch", "/predict/batch"])
@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        (b"{}", 422, "invalid-request"),
        (b"[]", 422, "invalid-request"),
        (b"[", 400, "not-json"),
        (b"[NaN]", 422, "not-finite"),
        (b"[" + b",".join([b"{}"] * 257) + b"]", 413, "too-many-requests-in-batch"),
    ],
)
def test_a_body_that_is_no_batch_is_refused(http: httpx.Client, path: str, body: bytes, status: int, code: str) -> None:
    problem_of(http.post(path, content=body, headers={"Content-Type": "application/json"}), status, code)


def test_an_idempotency_key_is_refused_rather_than_ignored(http: httpx.Client) -> None:
    answer = http.post("/adapt/batch", json=[{"support": sine(3)}], headers={"Idempotency-Key": "k"})
    problem_of(answer, 400, "invalid-idempotency-key")


@pytest.fixture(scope="module")
def narrow(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    running = start_service(tmp_path_factory.mktemp("narrow"), max_batch_requests=2, max_queue_depth=2)
    yield running
    running.stop()


def test_the_cap_of_a_batch_is_a_setting_and_told(narrow: Service) -> None:
    assert narrow.http.get("/limits").json()["max_batch_requests"] == 2
    assert len(adapt_batch(narrow.http, [{"support": sine(3)}] * 2)) == 2
    problem_of(narrow.http.post("/adapt/batch", json=[{}] * 3), 413, "too-many-requests-in-batch")
