"""Two tenants: whatever one of them has is not there for the other, on every path of the contract."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import httpx
import pytest

from tests.api.asking import SUPPORT, adapt, problem_of, sine
from tests.api.data_files import grouped_arrays, npz_of, upload
from tests.api.service import Service, start_service
from tests.api.tenants import client_of, make_key
from tests.api.tiny_jobs import train
from tests.serving.jobs import REQUEST

INFER = {"inputs": [{"name": "inputs", "shape": [1, 1], "datatype": "FP32", "data": [0.5]}]}
BODIES: dict[str, Any] = {
    "/models/{name}/promote": {"version": 1},
    "/models/{name}/authority": {"authority": "weights"},
    "/v2/models/{task_id}/infer": INFER,
    "/v2/models/{task_id}/versions/{revision}/infer": INFER,
    "/v2/repository/models/{task_id}/load": {},
    "/v2/repository/models/{task_id}/unload": {},
}
MAKES_ONES_OWN = {("post", "/models/{name}/versions")}
"""Under whatever name: an upload is a tenant's own model. All else that names what another tenant has is 404."""
OPEN = {
    "/limits",
    "/healthz",
    "/readyz",
    "/problems",
    "/problems/{code}",
    "/v2",
    "/v2/health/live",
    "/v2/health/ready",
}
"""Paths that need no key: they tell nothing of anybody."""


OPERATORS = "/metrics"
"""It tells of all tenants: for those who run the service alone."""


class Tenants(NamedTuple):
    """A service with two tenants, of which `a` has one of everything."""

    service: Service
    folder: Path
    a: httpx.Client
    b: httpx.Client
    ids: dict[str, str]
    """What `a` has, by the kind of thing."""

    def values(self, path: str) -> dict[str, str]:
        """Return what stands for each parameter of a path to name what `a` has."""
        kinds = {"task_id": "task", "job_id": "job", "name": "dataset" if path.startswith("/datasets") else "model"}
        return {name: self.ids[kind] for name, kind in kinds.items()} | {"version": "1", "revision": "1", "row": "0"}


@pytest.fixture(scope="module")
def tenants(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Tenants]:
    folder = tmp_path_factory.mktemp("tenants")
    keys = [make_key(folder, tenant) for tenant in ("tenant-a", "tenant-b")]
    service = start_service(folder, training_threads=1)
    a, b = (client_of(service, key) for key in keys)
    job = train(a, name="model-of-a")
    ids = {"task": "task-of-a", "model": "model-of-a", "dataset": "data-of-a", "job": job.job_id}
    adapt(a, task_id=ids["task"], model="sinusoid", headers={"Idempotency-Key": "once"})
    adapt(a, task_id=ids["task"], model=ids["model"], support=sine(4))
    assert a.post(f"/v2/models/{ids['task']}/infer", json=INFER).status_code == 200
    upload(a, npz_of(grouped_arrays()), "rows.npz", name=ids["dataset"], kind="grouped")
    yield Tenants(service, folder, a, b, ids)
    for client in (a, b):
        client.close()
    service.stop()


def operations(http: httpx.Client) -> list[tuple[str, str]]:
    paths: dict[str, Any] = http.get("/openapi.json").json()["paths"]
    return [(method, path) for path, methods in paths.items() for method in methods]


def filled(path: str, values: dict[str, str]) -> str:
    for name, value in values.items():
        path = path.replace(f"{{{name}}}", value)
    assert "{" not in path, f"what stands for a parameter of {path}?"
    return path


def asked(http: httpx.Client, method: str, path: str, url: str) -> httpx.Response:
    return http.request(method, url, json=BODIES[path]) if path in BODIES else http.request(method, url)


def state_of(tenants: Tenants) -> list[str]:
    """Return all that `a` can read about what it has."""
    found = []
    for method, path in operations(tenants.a):
        if method == "get" and path not in OPEN | {OPERATORS, "/audit"} and not path.endswith("stats"):
            answer = tenants.a.get(filled(path, tenants.values(path)))
            assert answer.status_code == 200, (path, answer.text)
            is_file = answer.headers["Content-Type"] == "application/vnd.safetensors"
            found.append(str(sorted(answer.content)) if is_file else answer.text)  # its metadata comes in any order
    return found


def test_what_one_tenant_has_is_not_found_by_another_on_any_path(tenants: Tenants) -> None:
    before, walked = state_of(tenants), 0
    for method, path in operations(tenants.a):
        if "{" not in path or path in OPEN:
            continue
        values = tenants.values(path)
        nobodys = {name: f"nobodys-{name}" if len(value) > 1 else value for name, value in values.items()}
        answer = asked(tenants.b, method, path, filled(path, values))
        same = asked(tenants.b, method, path, filled(path, nobodys))
        if (method, path) not in MAKES_ONES_OWN:
            assert answer.status_code == 404, (method, path, answer.text)
            assert answer.json()["code"].endswith("-not-found"), (method, path)
            assert answer.json()["code"] != "route-not-found", (method, path)
        # What is another's and what is nobody's is told in the same words.
        assert (answer.status_code, masked(answer, values)) == (same.status_code, masked(same, nobodys)), (method, path)
        walked += 1
    assert walked > 25
    assert state_of(tenants) == before


def masked(answer: httpx.Response, values: dict[str, str]) -> str:
    document = answer.json()
    document.pop("request_id")
    text = json.dumps(document)
    for value in sorted(values.values(), key=len, reverse=True):
        text = text.replace(value, "?") if len(value) > 1 else text
    return text


def test_no_list_tells_of_what_another_tenant_has(tenants: Tenants) -> None:
    words = [*tenants.ids.values(), "tenant-a"]
    for method, path in operations(tenants.b):
        if "{" in path or (method == "post" and path != "/v2/repository/index"):
            continue
        if path == OPERATORS:
            problem_of(tenants.b.get(path), 403, "forbidden-tenant")
            continue
        for query in ("", f"?model={tenants.ids['model']}", f"?task_id={tenants.ids['task']}"):
            answer = tenants.b.request(method, path + query)
            assert answer.status_code in (200, 422), (path, answer.text)
            assert not [word for word in words if word in answer.text], path
    told = "".join(tenants.a.get(path).text for path in ("/tasks", "/meta-train", "/models", "/datasets"))
    assert all(word in told for word in tenants.ids.values())  # while its owner sees it
    assert tenants.ids["task"] in tenants.a.get("/v2/models/stats").text
    assert tenants.ids["task"] in tenants.a.post("/v2/repository/index").text


def test_bodies_that_name_what_another_tenant_has_find_nothing(tenants: Tenants) -> None:
    task, model, dataset = (tenants.ids[kind] for kind in ("task", "model", "dataset"))
    tasks = {"kind": "grouped", "dataset": dataset, "shots": 3, "queries": 3}
    append = {"task_id": task, "support": SUPPORT, "append": True}
    wrong: list[tuple[str, Any, str]] = [
        ("/adapt", append, "task-not-found"),
        ("/adapt", {"model": model, "support": SUPPORT}, "model-not-found"),
        ("/adapt", {"model": f"{model}@1", "support": SUPPORT}, "model-not-found"),
        ("/predict", {"task_id": task, "inputs": [[0.5]]}, "task-not-found"),
        ("/predict", {"task_id": task, "revision": 1, "inputs": [[0.5]]}, "task-not-found"),
        ("/predict", {"model": model, "support": SUPPORT, "inputs": [[0.5]]}, "model-not-found"),
        ("/predict", {"model": f"{model}@1", "support": SUPPORT, "inputs": [[0.5]]}, "model-not-found"),
        ("/meta-train", {**REQUEST, "tasks": tasks}, "dataset-not-found"),
    ]
    for path, body, code in wrong:
        told = problem_of(tenants.b.post(path, json=body), 404, code)
        assert "tenant" not in told.detail
        if path != "/meta-train":
            (in_batch,) = tenants.b.post(f"{path}/batch", json=[body]).json()
            assert (in_batch["status"], in_batch["code"]) == (404, code)


def test_a_stored_name_cannot_be_said(tenants: Tenants) -> None:
    stored = f"tenant-a/{tenants.ids['model']}"
    for client in (tenants.a, tenants.b):
        problem_of(client.post("/adapt", json={"model": stored, "support": SUPPORT}), 422, "invalid-id")
        problem_of(client.get(f"/models/{stored.replace('/', '%2F')}"), 404, "route-not-found")
        problem_of(client.get("/tasks", params={"model": stored}), 422, "invalid-id")


def test_equal_ids_and_idempotency_keys_of_two_tenants_are_two_things(tenants: Tenants) -> None:
    before = tenants.a.get(f"/tasks/{tenants.ids['task']}").json()
    made = adapt(tenants.b, task_id=tenants.ids["task"], support=sine(9), headers={"Idempotency-Key": "once"})
    assert (made.revision, made.support_size) == (1, 9)
    assert tenants.a.get(f"/tasks/{tenants.ids['task']}").json() == before
    upload(tenants.b, npz_of(grouped_arrays(9)), "rows.npz", name=tenants.ids["dataset"], kind="grouped")
    for path in (f"/tasks/{tenants.ids['task']}", f"/datasets/{tenants.ids['dataset']}"):
        assert tenants.b.delete(path).status_code == 204
        assert tenants.a.get(path).status_code == 200


def test_keys_of_one_tenant_share_what_it_has(tenants: Tenants) -> None:
    with client_of(tenants.service, make_key(tenants.folder, "tenant-a", "use")) as another:
        assert another.get(f"/tasks/{tenants.ids['task']}").status_code == 200


def test_a_path_without_a_key_is_401_unless_it_tells_nothing_of_anybody(tenants: Tenants) -> None:
    with client_of(tenants.service, None) as nobody:
        for method, path in operations(nobody):
            answer = asked(nobody, method, path, filled(path, {**tenants.values(path), "code": "not-json"}))
            if path in OPEN:
                assert answer.status_code == 200, path
                continue
            problem_of(answer, 401, "unauthorized")
            assert answer.headers["WWW-Authenticate"] == "Bearer"
        problem_of(nobody.get("/nowhere"), 404, "route-not-found")


def scope_of(method: str, path: str) -> str | None:
    """Return the scope that a path needs, None where any key will do."""
    if path in OPEN or (method == "get" and path.startswith("/models")):
        return None
    if path in (OPERATORS, "/audit") or path.endswith(("/promote", "/authority")):
        return "admin"
    return "train" if path.startswith(("/models", "/meta-train", "/datasets")) else "use"


@pytest.mark.parametrize("scope", ["use", "train", "admin"])
def test_a_key_is_good_for_its_scope_alone(tenants: Tenants, scope: Any) -> None:
    with client_of(tenants.service, make_key(tenants.folder, "tenant-c", scope)) as http:
        for method, path in operations(http):
            values = {**dict.fromkeys(tenants.values(path), "nobodys"), "version": "1", "revision": "1", "row": "0"}
            answer = asked(http, method, path, filled(path, {**values, "code": "not-json"}))
            needed = scope_of(method, path)
            if path == OPERATORS and scope == needed:
                problem_of(answer, 403, "forbidden-tenant")
            elif needed in (None, scope):
                assert answer.status_code not in (401, 403), (method, path, answer.text)
            else:
                told = problem_of(answer, 403, "forbidden-scope")
                assert f"the scope {needed!r}" in told.detail
