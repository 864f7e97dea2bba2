"""Models of tenants: those of `default` are everybody's to use, and its own to change; others are their tenant's."""

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import httpx
import pytest

from innerloop.wire import ModelInfo
from tests.api.asking import adapt, outputs, predict, problem_of, sine
from tests.api.service import start_service
from tests.api.tenants import client_of, make_key
from tests.api.test_api_weights import send
from tests.api.tiny_jobs import start, train

ROWS = [[-1.0], [0.5]]


class Clients(NamedTuple):
    """Three tenants of one service."""

    default: httpx.Client
    acme: httpx.Client
    other: httpx.Client


@pytest.fixture(scope="module")
def http(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Clients]:
    folder = tmp_path_factory.mktemp("own")
    keys = [make_key(folder, tenant) for tenant in Clients._fields]
    service = start_service(folder, training_threads=1)
    clients = Clients(*(client_of(service, key) for key in keys))
    yield clients
    for client in clients:
        client.close()
    service.stop()


def model(http: httpx.Client, name: str) -> ModelInfo:
    return ModelInfo.model_validate_json(http.get(f"/models/{name}").content)


def names(http: httpx.Client, limit: int = 500) -> list[str]:
    found: list[str] = []
    after = None
    while True:
        page = http.get("/models", params={"limit": limit, **({"after": after} if after else {})}).json()
        found += [one["name"] for one in page["data"]]
        after = page["next"]
        if after is None:
            return found


def weights(http: httpx.Client, name: str = "sinusoid") -> bytes:
    answer = http.get(f"/models/{name}/versions/1/weights")
    assert answer.status_code == 200, answer.text
    return answer.content


def test_an_upload_is_the_tenants_own_and_takes_the_place_of_the_shared_one_for_it_alone(http: Clients) -> None:
    shared = model(http.other, "sinusoid")
    job = train(http.acme, name="sinusoid", promote="always")
    assert (job.name, job.model_version) == ("sinusoid", 1)
    own = model(http.acme, "sinusoid")
    assert own.name == "sinusoid"
    assert [version.sha256 for version in own.versions] != [version.sha256 for version in shared.versions]
    for client in (http.default, http.other):
        assert model(client, "sinusoid") == shared
    answers = [outputs(client, model="sinusoid", support=sine(5), inputs=ROWS) for client in http]
    assert answers[0] == answers[2] != answers[1]
    assert weights(http.acme) != weights(http.other) == weights(http.default)


def test_lists_name_each_model_once_and_those_of_others_never(http: Clients) -> None:
    assert send(http.acme, "a-first", weights(http.default)).status_code == 201
    assert send(http.acme, "zz-last", weights(http.default)).status_code == 201
    assert send(http.acme, "sinusoid", weights(http.default)).status_code == 201
    shared = names(http.default)
    assert names(http.other) == shared == sorted(shared)
    assert names(http.acme) == sorted({*shared, "a-first", "zz-last"})
    assert names(http.acme, limit=1) == names(http.acme) == names(http.acme, limit=2)
    listed = [one for one in http.acme.get("/models").json()["data"] if one["name"] == "sinusoid"]
    assert [ModelInfo.model_validate(one) for one in listed] == [model(http.acme, "sinusoid")]


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("POST", "promote", {"version": 1}),
        ("POST", "authority", {"authority": "rows"}),
        ("DELETE", "versions/1", None),
    ],
)
def test_shared_models_are_changed_by_the_default_tenant_alone(
    http: Clients, method: str, path: str, body: object
) -> None:
    before = model(http.other, "omniglot")
    told = problem_of(http.other.request(method, f"/models/omniglot/{path}", json=body), 403, "shared-model")
    assert "omniglot" in told.detail
    problem_of(http.other.request(method, f"/models/nobodys/{path}", json=body), 404, "model-not-found")
    assert model(http.other, "omniglot") == before


def test_the_default_tenant_changes_what_is_shared_for_everybody(http: Clients) -> None:
    assert send(http.default, "given", weights(http.default)).status_code == 201
    assert http.default.post("/models/given/authority", json={"authority": "rows"}).status_code == 200
    for client in http:
        assert model(client, "given").authority == "rows"
        assert adapt(client, task_id="of-given", model="given").model == "given"
    problem_of(http.default.delete("/models/given/versions/1"), 409, "version-in-use")


def test_own_models_are_promoted_set_up_and_deleted_by_their_tenant(http: Clients) -> None:
    for data in (weights(http.default), weights(http.default, "telemonitoring")):
        assert send(http.acme, "mine", data).status_code == 201
    assert model(http.acme, "mine").active_version == 1
    assert http.acme.post("/models/mine/promote", json={"version": 2}).json()["active_version"] == 2
    told = problem_of(http.acme.post("/models/mine/promote", json={"version": 7}), 404, "version-not-found")
    assert told.detail == "mine has no version 7; GET /models/mine lists the versions"
    told = problem_of(http.acme.delete("/models/mine/versions/2"), 409, "version-in-use")
    assert "acme/" not in told.detail
    assert http.acme.post("/models/mine/authority", json={"authority": "rows"}).json()["authority"] == "rows"
    assert http.acme.delete("/models/mine/versions/1").status_code == 204
    assert http.acme.delete("/models/mine/versions/2").status_code == 204
    problem_of(http.acme.get("/models/mine"), 404, "model-not-found")


def test_a_name_means_the_own_model_wherever_it_is_said(http: Clients) -> None:
    train(http.acme, name="waves")
    job = train(http.acme, name="waves", promote="never", seed=5)
    assert job.model_version == 2
    made = adapt(http.acme, task_id="wave", model="waves@2")
    assert (made.model, made.model_version) == ("waves", 2)
    assert predict(http.acme, task_id="wave", inputs=ROWS).model == "waves"
    task = http.acme.get("/tasks/wave").json()
    assert (task["model"], http.acme.get("/tasks/wave/revisions").json()["data"][0]["model"]) == ("waves", "waves")
    assert [one["task_id"] for one in http.acme.get("/tasks?model=waves").json()["data"]] == ["wave"]
    assert http.acme.get("/v2/models/wave").json()["parameters"]["model"] == "waves@2"
    assert b"acme/" not in http.acme.get("/tasks/wave/weights").content
    assert http.acme.post("/v2/models/wave/infer", json=INFER).status_code == 200
    more = adapt(http.acme, task_id="wave", append=True, support=sine(3), model="waves")
    assert (more.revision, more.model, more.support_size) == (2, "waves", 8)
    told = problem_of(
        http.acme.post("/adapt", json={"task_id": "wave", "append": True, "support": sine(3), "model": "omniglot"}),
        422,
        "model-mismatch",
    )
    assert "'waves'" in told.detail
    told = problem_of(http.acme.post("/adapt", json={"model": "waves@9", "support": sine(3)}), 404, "version-not-found")
    assert "acme/" not in told.detail
    told = problem_of(
        http.acme.post("/adapt", json={"model": "waves", "support": {"inputs": [[1.0, 2.0]], "targets": [1.0]}}),
        422,
        "shape-mismatch",
    )
    assert "acme/" not in told.detail


def test_a_task_stays_with_the_shared_model_that_it_was_made_of(http: Clients) -> None:
    assert send(http.default, "both", weights(http.default)).status_code == 201
    before = adapt(http.other, task_id="stays", model="both")
    train(http.other, name="both")
    again = adapt(http.other, task_id="stays", append=True, support=sine(3))
    named = adapt(http.other, task_id="stays", append=True, support=sine(3), model="both")
    assert [one.model for one in (before, again, named)] == ["both"] * 3
    assert len(http.other.get("/tasks?model=both").json()["data"]) == 1
    # Named anew, without its rows, it is the tenant's own.
    assert outputs(http.other, model="both", support=sine(5), inputs=ROWS) != outputs(
        http.default, model="both", support=sine(5), inputs=ROWS
    )


def test_an_own_model_without_an_active_version_is_not_the_shared_one(http: Clients) -> None:
    job = train(http.acme, name="telemonitoring", promote="never")
    told = problem_of(http.acme.post("/adapt", json={"model": job.name, "support": sine(3)}), 404, "model-not-found")
    assert told.detail.startswith("telemonitoring has no active version")
    assert http.other.post("/adapt", json={"model": job.name, "support": sine(3)}).status_code == 422  # 19 numbers
    problem_of(http.acme.get("/models/telemonitoring/versions/7/weights"), 404, "version-not-found")
    assert http.acme.post("/models/telemonitoring/promote", json={"version": 1}).status_code == 200
    assert adapt(http.acme, model="telemonitoring", support=sine(3)).model == "telemonitoring"


def test_a_job_compares_with_the_own_active_version(http: Clients) -> None:
    first = train(http.acme, name="compared")
    second = train(http.acme, name="compared", seed=11)
    found = next(one for one in model(http.acme, "compared").versions if one.version == second.model_version)
    assert first.model_version == 1
    assert found.metrics["promotion"]["against"] == 1
    problem_of(http.other.get("/models/compared"), 404, "model-not-found")
    assert start(http.other, name="compared").name == "compared"


INFER = {"inputs": [{"name": "inputs", "shape": [1, 1], "datatype": "FP32", "data": [0.5]}]}


def test_files_of_models_say_nothing_of_tenants(http: Clients, tmp_path: Path) -> None:
    train(http.acme, name="told")
    assert b"acme" not in weights(http.acme, "told")
