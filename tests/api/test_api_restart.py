"""Claims about what outlives the process: kill -9, then a start on the same folder with a newer model beside."""

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import httpx
import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from app.settings import REPOSITORY
from innerloop.wire import ModelInfo
from tests.api.asking import Json, adapt, close, outputs, predict, problem_of, sine
from tests.api.service import Service, start_service

QUERY = [[-3.0], [0.5], [2.5]]
KEY = {"Idempotency-Key": "before the crash"}
FIRST: Json = {"task_id": "first", "support": sine(5), "ttl_seconds": 10_000}


class Restarted(NamedTuple):
    """A service on what another one left, and what that one had said."""

    service: Service
    answer: Any
    task: Any
    outputs: list[list[float]]
    last: Any


def _models_with_another_sinusoid(folder: Path) -> Path:
    """Return a folder with a sinusoid of slightly other weights, as a release would bring."""
    folder.mkdir()
    for suffix in (".json", ".safetensors"):
        shutil.copy(REPOSITORY / "models" / f"sinusoid{suffix}", folder)
    weights = load_file(folder / "sinusoid.safetensors")
    save_file(
        {name: np.asarray(leaf * np.float32(1.05)) for name, leaf in weights.items()}, folder / "sinusoid.safetensors"
    )
    return folder


@pytest.fixture(scope="module")
def restarted(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Restarted]:
    folder = tmp_path_factory.mktemp("restarted")
    before = start_service(folder)
    answer = before.http.post("/adapt", json=FIRST, headers=KEY).json()
    task = before.http.get("/tasks/first").json()
    predicted = outputs(before.http, task_id="first", inputs=QUERY)
    before.http.post("/adapt", json={"task_id": "deleted", "support": sine(5)})
    before.http.delete("/tasks/deleted")
    last = before.http.post("/adapt", json={"task_id": "last", "support": sine(4)}).json()
    before.kill()  # right after the answer
    after = start_service(folder, models_dir=_models_with_another_sinusoid(folder / "models"))
    yield Restarted(after, answer, task, predicted, last)
    assert after.stop() == 0


@pytest.fixture
def later(restarted: Restarted) -> httpx.Client:
    """A client of the second process."""
    return restarted.service.http


def test_what_was_acknowledged_is_there(restarted: Restarted, later: httpx.Client) -> None:
    assert later.get("/tasks/first").json() == restarted.task
    assert close(outputs(later, task_id="first", inputs=QUERY), restarted.outputs, within=1e-6)
    assert later.get("/tasks/last").json()["revision"] == restarted.last["revision"] == 1


def test_an_idempotent_answer_is_repeated(restarted: Restarted, later: httpx.Client) -> None:
    response = later.post("/adapt", json=FIRST, headers=KEY)
    assert (response.status_code, response.json()) == (201, restarted.answer)
    assert response.headers["Idempotency-Replayed"] == "true"
    problem_of(later.post("/adapt", json={**FIRST, "steps": 1}, headers=KEY), 422, "idempotency-key-reused")


def test_an_equal_latest_revision_is_still_the_answer(later: httpx.Client) -> None:
    assert adapt(later, status=200, task_id="last", support=sine(4)).revision == 1


def test_numbers_of_a_deleted_task_go_on(later: httpx.Client) -> None:
    problem_of(later.get("/tasks/deleted"), 404, "task-not-found")
    assert adapt(later, task_id="deleted").revision == 2


def test_appending_goes_on_from_the_stored_rows(later: httpx.Client) -> None:
    adapt(later, task_id="grown", support=sine(3))
    assert adapt(later, task_id="grown", support=sine(2), append=True).support_size == 5


def test_a_new_version_waits_until_it_is_promoted_and_revisions_keep_theirs(later: httpx.Client) -> None:
    model = ModelInfo.model_validate_json(later.get("/models/sinusoid").content)
    assert ([version.version for version in model.versions], model.active_version) == ([1, 2], 1)
    assert model.versions[0].sha256 != model.versions[1].sha256
    assert adapt(later, task_id="versions").model_version == 1
    old = outputs(later, task_id="versions", inputs=QUERY)
    assert adapt(later, model="sinusoid@2").model_version == 2

    promoted = later.post("/models/sinusoid/promote", json={"version": 2})
    assert ModelInfo.model_validate_json(promoted.content).active_version == 2
    assert predict(later, task_id="versions", inputs=QUERY).model_version == 1
    assert close(outputs(later, task_id="versions", inputs=QUERY), old, within=0)
    anew = adapt(later, task_id="versions")  # equal but for the version, so computed
    assert (anew.revision, anew.model_version) == (2, 2)
    assert not close(outputs(later, task_id="versions", inputs=QUERY), old, within=1e-3)
    assert close(outputs(later, task_id="versions", revision=1, inputs=QUERY), old, within=0)
    assert later.get("/tasks/versions").json()["model_version"] == 2
    assert predict(later, support=sine(5), inputs=QUERY).model_version == 2
    assert predict(later, support=sine(5), model="sinusoid@1", inputs=QUERY).outputs == old

    back = later.post("/models/sinusoid/promote", json={"version": 1})
    assert ModelInfo.model_validate_json(back.content).active_version == 1
    assert adapt(later, task_id="versions", steps=1).model_version == 1
