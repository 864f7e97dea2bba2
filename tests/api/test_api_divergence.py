"""Claims about adaptation that becomes non-finite, and about `on_divergence`."""

from typing import Any

import httpx
import pytest

from tests.api.asking import adapt, close, outputs, problem_of

STEEP: dict[str, Any] = {
    "support": {"inputs": [[-5.0], [5.0], [4.0]], "targets": [-900.0, 900.0, -500.0]},
    "learning_rate": 10.0,
    "steps": 100,
}
HOPELESS: dict[str, Any] = {**STEEP, "support": {"inputs": [[1e38], [-1e38]], "targets": [3e38, -3e38]}}
QUERY = [[-1.0], [0.0], [2.0]]


@pytest.mark.usefixtures("nothing_changes")
@pytest.mark.parametrize("settings", [{}, {"on_divergence": "error"}], ids=str)
def test_divergence_is_an_error_and_stores_nothing(http: httpx.Client, task_id: str, settings: dict[str, Any]) -> None:
    problem_of(http.post("/adapt", json={"task_id": task_id, **STEEP, **settings}), 422, "diverged")
    problem_of(http.post("/predict", json={**STEEP, **settings, "inputs": QUERY}), 422, "diverged")
    problem_of(http.get(f"/tasks/{task_id}"), 404, "task-not-found")


def test_divergence_leaves_the_revision_before_as_it_was(http: httpx.Client, task_id: str) -> None:
    adapt(http, task_id=task_id)
    before = outputs(http, task_id=task_id, inputs=QUERY)
    for append in (False, True):
        problem_of(http.post("/adapt", json={"task_id": task_id, "append": append, **STEEP}), 422, "diverged")
    task = http.get(f"/tasks/{task_id}").json()
    assert (task["revision"], task["support_size"]) == (1, 5)
    assert outputs(http, task_id=task_id, inputs=QUERY) == before


def test_the_best_finite_step_is_kept_when_asked_for(http: httpx.Client, task_id: str) -> None:
    answer = adapt(http, task_id=task_id, on_divergence="best", **STEEP)
    assert answer.steps == 100
    assert answer.kept_step is not None
    assert 1 <= answer.kept_step < 100
    kept, after = answer.support_loss[: answer.kept_step + 1], answer.support_loss[answer.kept_step + 1 :]
    assert all(loss is not None for loss in kept)
    assert after == [None] * (100 - answer.kept_step)
    revision = http.get(f"/tasks/{task_id}/revisions").json()["data"][0]
    assert (revision["steps"], revision["kept_step"]) == (100, answer.kept_step)
    so_many = outputs(http, **{**STEEP, "steps": answer.kept_step}, inputs=QUERY)
    assert close(outputs(http, task_id=task_id, inputs=QUERY), so_many)
    assert close(outputs(http, **STEEP, on_divergence="best", inputs=QUERY), so_many)


def test_best_changes_nothing_where_nothing_diverges(http: httpx.Client) -> None:
    plain, best = adapt(http), adapt(http, on_divergence="best")
    assert (best.kept_step, best.support_loss) == (plain.steps, plain.support_loss)


def test_a_shortened_revision_answers_for_best_alone(http: httpx.Client, task_id: str) -> None:
    first = adapt(http, task_id=task_id, on_divergence="best", **STEEP)
    again = adapt(http, status=200, task_id=task_id, on_divergence="best", **STEEP)
    assert (again.kept_step, again.support_loss) == (first.kept_step, first.support_loss)
    problem_of(http.post("/adapt", json={"task_id": task_id, **STEEP}), 422, "diverged")
    assert http.get(f"/tasks/{task_id}").json()["revision"] == 1


@pytest.mark.usefixtures("nothing_changes")
def test_no_finite_step_at_all_is_an_error_even_then(http: httpx.Client, task_id: str) -> None:
    response = http.post("/adapt", json={"task_id": task_id, "on_divergence": "best", **HOPELESS})
    problem_of(response, 422, "diverged")
