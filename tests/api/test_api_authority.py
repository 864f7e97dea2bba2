"""What is stored of a task: its weights beside its rows, or the rows alone, from which they are made again."""

import sqlite3
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from safetensors.numpy import load

from tests.api.asking import adapt, close, outputs, problem_of, sine
from tests.api.service import Service, start_service

QUERY = [[-3.0], [0.5], [2.0]]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("authority")


@pytest.fixture(scope="module")
def forgetful(folder: Path) -> Iterator[Service]:
    """A service that caches no task."""
    running = start_service(folder, task_cache_bytes=0)
    yield running
    running.stop()


def set_authority(http: httpx.Client, authority: str) -> None:
    answer = http.post("/models/sinusoid/authority", json={"authority": authority})
    assert answer.status_code == 200, answer.text
    assert answer.json()["authority"] == authority
    assert http.get("/models/sinusoid").json()["authority"] == authority


def test_tasks_whose_rows_alone_are_stored_answer_the_same(forgetful: Service, folder: Path, task_id: str) -> None:
    http = forgetful.http
    both = adapt(http, task_id=task_id, support=sine(6), steps=3)
    expected = outputs(http, task_id=task_id, inputs=QUERY)
    set_authority(http, "rows")
    try:
        rows_only = adapt(http, task_id=task_id, support=sine(6, phase=1.0), steps=3)
        again = adapt(http, task_id=f"{task_id}-rows", support=sine(6), steps=3)
        assert close(outputs(http, task_id=f"{task_id}-rows", inputs=QUERY), expected)
        assert close(again.support_loss, both.support_loss)
        # The older revision has its weights still.
        assert outputs(http, task_id=task_id, revision=both.revision, inputs=QUERY) == expected
        assert rows_only.revision == both.revision + 1
        with sqlite3.connect(f"file:{folder}/innerloop.db?mode=ro", uri=True) as database:
            stored = dict(database.execute("SELECT task_id || revision, weights IS NULL FROM revisions").fetchall())
        assert stored[f"{task_id}{both.revision}"] == 0
        assert stored[f"{task_id}{rows_only.revision}"] == 1
    finally:
        set_authority(http, "weights")
    assert close(outputs(http, task_id=f"{task_id}-rows", inputs=QUERY), expected)


def test_rows_alone_can_be_appended_to_downloaded_and_judged(forgetful: Service, task_id: str) -> None:
    http = forgetful.http
    set_authority(http, "rows")
    try:
        first = sine(6)
        adapt(http, task_id=task_id, support={"inputs": first["inputs"][:3], "targets": first["targets"][:3]}, steps=2)
        adapt(
            http,
            task_id=task_id,
            support={"inputs": first["inputs"][3:], "targets": first["targets"][3:]},
            steps=2,
            append=True,
        )
        at_once = outputs(http, support=first, inputs=QUERY, steps=2)
        assert close(outputs(http, task_id=task_id, inputs=QUERY), at_once)
        weights = load(http.get(f"/tasks/{task_id}/weights", params={"form": "delta"}).content)
        assert weights
        repeated = adapt(http, status=200, task_id=task_id, support=first, steps=2, validation=sine(4))
        assert repeated.validation is not None
    finally:
        set_authority(http, "weights")


def test_a_step_that_was_kept_is_where_adapting_again_ends(forgetful: Service, task_id: str) -> None:
    http = forgetful.http
    set_authority(http, "rows")
    try:
        steep = {"inputs": [[-4.0], [4.0]], "targets": [900.0, -900.0]}
        answer = adapt(http, task_id=task_id, support=steep, steps=20, learning_rate=0.3, on_divergence="best")
        assert answer.kept_step is not None
        kept = outputs(http, support=steep, inputs=QUERY, steps=answer.kept_step, learning_rate=0.3)
        assert close(outputs(http, task_id=task_id, inputs=QUERY), kept, within=1e-4)
    finally:
        set_authority(http, "weights")


@pytest.mark.parametrize("body", [{}, {"authority": "none"}, {"authority": "rows", "more": 1}])
def test_another_authority_is_refused(http: httpx.Client, body: dict[str, object]) -> None:
    problem_of(http.post("/models/sinusoid/authority", json=body), 422, "invalid-request")


def test_authority_of_a_model_that_is_not_there_is_not_found(http: httpx.Client) -> None:
    problem_of(http.post("/models/none-such/authority", json={"authority": "rows"}), 404, "model-not-found")
