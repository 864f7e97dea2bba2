"""Claims about /models."""

import httpx
import pytest

from innerloop.wire import ModelInfo, Page
from tests.api.asking import adapt, problem_of, sine
from tests.api.drawings import MODEL

VERSION_FIELDS = {
    "version", "created_at", "learner", "network", "input", "output", "default_steps", "max_steps", "bytes", "sha256",
    "provenance", "metrics",
}  # fmt: skip
BAD_PROMOTIONS = {
    "no body": b"",
    "no version": b"{}",
    "version 0": b'{"version": 0}',
    "negative": b'{"version": -1}',
    "text": b'{"version": "1"}',
    "boolean": b'{"version": true}',
    "null": b'{"version": null}',
    "fraction": b'{"version": 1.0}',
    "unknown field": b'{"version": 1, "force": true}',
    "over 64 bits": b'{"version": 18446744073709551616}',
    "not finite": b'{"version": NaN}',
    "list": b"[1]",
}


def test_models_have_the_fields_of_the_contract(http: httpx.Client) -> None:
    for name in ("sinusoid", MODEL):
        shown = http.get(f"/models/{name}").json()
        assert shown.keys() >= {"name", "active_version", "versions"}
        for version in shown["versions"]:
            assert version.keys() >= VERSION_FIELDS
            assert version["input"].keys() >= {"kind", "shape"}
            assert version["output"].keys() >= {"kind", "shape"}


def test_shipped_models_say_what_they_take_and_give(http: httpx.Client) -> None:
    numbers, pictures = (
        ModelInfo.model_validate_json(http.get(f"/models/{name}").content) for name in ("sinusoid", MODEL)
    )
    one, other = numbers.versions[0], pictures.versions[0]
    assert (numbers.name, numbers.active_version, one.version) == ("sinusoid", 1, 1)
    assert (one.learner.kind, one.network.kind, one.max_steps) == ("maml", "mlp", 100)
    assert (one.input.kind, one.input.shape, one.output.kind, one.output.shape) == ("vector", [1], "regression", [1])
    assert (other.input.kind, other.input.shape) == ("image", [1, 28, 28])
    assert (other.output.kind, other.output.shape) == ("classification", [5])
    assert other.input.polarity
    for version in (one, other):
        assert len(version.sha256) == 64
        assert version.bytes > 1000
        assert version.provenance
        assert version.metrics


def test_models_are_listed_by_name(http: httpx.Client) -> None:
    page = Page[ModelInfo].model_validate_json(http.get("/models").content)
    names = [model.name for model in page.data]
    assert names == sorted(names)
    assert {"sinusoid", MODEL} <= set(names)
    first = Page[ModelInfo].model_validate_json(http.get("/models", params={"limit": 1}).content)
    assert [model.name for model in first.data] == names[:1]
    assert first.has_more
    rest = Page[ModelInfo].model_validate_json(http.get("/models", params={"after": first.next or ""}).content)
    assert [model.name for model in rest.data] == names[1:]
    assert not rest.has_more


def test_promoting_the_active_version_changes_nothing(http: httpx.Client) -> None:
    before = http.get("/models/sinusoid").json()
    response = http.post("/models/sinusoid/promote", json={"version": 1})
    assert response.status_code == 200
    assert response.json() == before == http.get("/models/sinusoid").json()


@pytest.mark.parametrize("version", [2, 99, 2**63 - 1])
def test_a_version_that_is_not_there_is_not_promoted(http: httpx.Client, version: int) -> None:
    response = http.post("/models/sinusoid/promote", json={"version": version})
    problem_of(response, 404, "version-not-found")
    assert http.get("/models/sinusoid").json()["active_version"] == 1


def test_a_model_that_is_not_there_is_not_found(http: httpx.Client) -> None:
    problem_of(http.get("/models/none-such"), 404, "model-not-found")
    problem_of(http.post("/models/none-such/promote", json={"version": 1}), 404, "model-not-found")


@pytest.mark.parametrize("name", BAD_PROMOTIONS)
def test_a_promotion_that_names_no_version_is_refused(http: httpx.Client, name: str) -> None:
    response = http.post("/models/sinusoid/promote", content=BAD_PROMOTIONS[name])
    status, code = {
        "no body": (400, "not-json"),
        "not finite": (422, "not-finite"),
    }.get(name, (422, "invalid-request"))
    problem_of(response, status, code)
    assert http.get("/models/sinusoid").json()["active_version"] == 1


@pytest.mark.usefixtures("nothing_changes")
@pytest.mark.parametrize(
    ("model", "code"),
    [("none-such", "model-not-found"), ("none-such@1", "model-not-found"), ("sinusoid@2", "version-not-found"),
     ("sinusoid@999999999", "version-not-found"), ("Sinusoid", "model-not-found")],
)  # fmt: skip
def test_unknown_models_and_versions_are_not_found(http: httpx.Client, task_id: str, model: str, code: str) -> None:
    support = sine(3)
    response = http.post("/adapt", json={"task_id": task_id, "model": model, "support": support})
    problem_of(response, 404, code)
    response = http.post("/predict", json={"model": model, "support": support, "inputs": [[0.0]]})
    problem_of(response, 404, code)


def test_an_unknown_model_is_not_found_for_a_task_that_has_one(http: httpx.Client, task_id: str) -> None:
    adapt(http, task_id=task_id)
    body = {"task_id": task_id, "model": "none-such", "support": sine(3)}
    problem_of(http.post("/adapt", json=body), 404, "model-not-found")
    assert http.get(f"/tasks/{task_id}").json()["revision"] == 1
