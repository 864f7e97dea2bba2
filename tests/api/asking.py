"""Asking the service and holding its answers against the wire models."""

import re
from collections.abc import Sequence
from typing import Any

import httpx
import numpy as np

from innerloop.errors import ERROR_BY_CODE
from innerloop.wire import AdaptAnswer, ModelInfo, Page, PredictAnswer, Problem, TaskInfo, TimingMs

Json = dict[str, Any]

JSON = {"Content-Type": "application/json"}
INSIDES = re.compile(r"Traceback|\.py\b|site-packages|sqlite|sqlalchemy|0x[0-9a-f]{6}|NoneType", re.IGNORECASE)
"""What only the service's insides would say."""

SUPPORT: Json = {"inputs": [[-1.2], [0.4]], "targets": [0.31, -0.8]}
"""Two rows for `sinusoid`."""


def sine(num_rows: int, *, amplitude: float = 2.0, phase: float = 0.5) -> Json:
    """Return evenly spaced rows of a sine, which `sinusoid` was meta-trained for."""
    x = np.linspace(-4.5, 4.5, num_rows)
    return {"inputs": x[:, None].tolist(), "targets": (amplitude * np.sin(x + phase)).tolist()}


def adapt(http: httpx.Client, *, status: int = 201, headers: dict[str, str] | None = None, **body: Any) -> AdaptAnswer:
    """POST /adapt with `sine(5)` unless a support is named; checks what holds for every answer."""
    response = http.post("/adapt", json={"support": sine(5), **body}, headers=headers)
    assert response.status_code == status, response.text
    answer = AdaptAnswer.model_validate_json(response.content)
    assert answer.cached == (status == 200)
    assert answer.steps is not None
    assert len(answer.support_loss) == answer.steps + 1
    _check_timing(answer.timing_ms)
    return answer


def predict(http: httpx.Client, **body: Any) -> PredictAnswer:
    """POST /predict; checks what holds for every answer."""
    response = http.post("/predict", json=body)
    assert response.status_code == 200, response.text
    answer = PredictAnswer.model_validate_json(response.content)
    assert answer.task_id == body.get("task_id")
    assert (answer.revision is None) == (answer.task_id is None)
    _check_timing(answer.timing_ms)
    if answer.outputs is not None:
        assert [answer.labels, answer.probabilities, answer.classes] == [None] * 3
        assert len(answer.outputs) == len(body["inputs"])
        return answer
    assert answer.labels is not None
    assert answer.probabilities is not None
    assert answer.classes is not None
    assert len(answer.labels) == len(answer.probabilities) == len(body["inputs"])
    for label, row in zip(answer.labels, answer.probabilities, strict=True):
        assert len(row) == len(answer.classes)
        assert abs(sum(row) - 1.0) < 1e-5
        assert label == answer.classes[int(np.argmax(row))]
        assert type(label) is type(answer.classes[0])
    return answer


def outputs(http: httpx.Client, **body: Any) -> list[list[float]]:
    """Return the outputs that regression predicts."""
    found = predict(http, **body).outputs
    assert found is not None
    return found


def close(left: Sequence[Any] | None, right: Sequence[Any] | None, *, within: float = 1e-5) -> bool:
    """Tell whether two nested lists hold the same numbers; not so when one is missing."""
    return left is not None and right is not None and np.allclose(left, right, rtol=within, atol=within)


def problem_of(response: httpx.Response, status: int, code: str) -> Problem:
    """Return the problem that an answer tells of; checks all that the contract says of every problem."""
    assert response.status_code == status, response.text
    assert response.headers["Content-Type"] == "application/problem+json", response.text
    problem = Problem.model_validate_json(response.content)
    assert (problem.code, problem.status) == (code, status), problem
    assert problem.type == f"/problems/{code}"
    assert problem.title == ERROR_BY_CODE[code].title
    assert problem.error == problem.detail != ""
    assert problem.remedy == ERROR_BY_CODE[code].remedy
    assert not INSIDES.search(problem.detail), problem.detail
    assert problem.request_id == response.headers["X-Request-ID"]
    assert ("Retry-After" in response.headers) == (status in (429, 503)) or code == "idempotency-in-flight"
    return problem


def defaults_of(http: httpx.Client, model: str = "sinusoid") -> Json:
    """Return the steps and the rate that the card of a model's active version names."""
    info = ModelInfo.model_validate_json(http.get(f"/models/{model}").content)
    card = next(version for version in info.versions if version.version == info.active_version)
    return {"steps": card.default_steps, "learning_rate": (card.learner.model_extra or {})["learning_rate"]}


def state_of(http: httpx.Client) -> list[tuple[str, int, int, str]]:
    """Return id, latest revision, number of revisions and time of change of every task."""
    found: list[TaskInfo] = []
    cursor: str | None = None
    while True:
        params = {"limit": "500", **({"after": cursor} if cursor else {})}
        page = Page[TaskInfo].model_validate_json(http.get("/tasks", params=params).content)
        found += page.data
        cursor = page.next
        if cursor is None:
            return [(task.task_id, task.revision, task.revisions, str(task.updated_at)) for task in found]


def _check_timing(timing: TimingMs) -> None:
    assert timing.queue >= 0.0
    assert timing.compute >= 0.0
    assert timing.queue + timing.compute <= timing.total + 0.1
