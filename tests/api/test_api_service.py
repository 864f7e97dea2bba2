"""Claims about what the service says of itself: limits, health, problems, its own description."""

import json
import re
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from jsonschema import Draft202012Validator  # type: ignore[import-untyped]  # it has no types

from innerloop.errors import ERROR_BY_CODE, ServiceError
from innerloop.wire import Health, Limits, Page, ProblemInfo, Readiness
from tests.api.asking import problem_of
from tests.api.service import Service

CODES = sorted(code for code, kind in ERROR_BY_CODE.items() if issubclass(kind, ServiceError))
CLIENT_CODES = sorted(set(ERROR_BY_CODE) - set(CODES))
STATUSES = {400, 401, 403, 404, 405, 409, 413, 415, 422, 429, 500, 503, 504, 507}
CONTRACT_LIMITS = {
    "max_classes": 100, "max_support_rows": 1000, "max_query_rows": 10_000, "max_steps": 100,
    "max_body_bytes": 64 * 1024 * 1024, "max_revisions": 20,
}  # fmt: skip
BODIES = {
    ("/adapt", "post"), ("/predict", "post"), ("/meta-train", "post"), ("/datasets", "post"),
    ("/models/{name}/promote", "post"), ("/models/{name}/versions", "post"), ("/models/{name}/authority", "post"),
    ("/adapt/batch", "post"), ("/predict/batch", "post"),
    ("/v2/models/{task_id}/infer", "post"), ("/v2/models/{task_id}/versions/{revision}/infer", "post"),
    ("/v2/repository/index", "post"), ("/v2/repository/models/{task_id}/load", "post"),
    ("/v2/repository/models/{task_id}/unload", "post"),
}  # fmt: skip
PATHS = {
    "/adapt", "/predict", "/models", "/models/{name}", "/models/{name}/promote", "/tasks", "/tasks/{task_id}",
    "/tasks/{task_id}/revisions", "/limits", "/healthz", "/readyz", "/problems", "/problems/{code}",
}  # fmt: skip


def test_limits_are_those_of_the_contract_and_all_numbers(http: httpx.Client) -> None:
    shown = http.get("/limits").json()
    assert shown.items() >= CONTRACT_LIMITS.items()
    assert shown.keys() == Limits.model_fields.keys()
    assert all(type(value) in (int, float) for value in shown.values())


def test_it_is_alive_and_ready(http: httpx.Client) -> None:
    assert Health.model_validate_json(http.get("/healthz").content).status == "ok"
    response = http.get("/readyz")
    assert response.status_code == 200
    assert Readiness.model_validate_json(response.content) == Readiness(ready=True, reasons=[])


@pytest.mark.parametrize("code", CODES)
def test_every_problem_is_explained(http: httpx.Client, code: str) -> None:
    response = http.get(f"/problems/{code}")
    assert response.status_code == 200
    info = ProblemInfo.model_validate_json(response.content)
    kind = ERROR_BY_CODE[code]
    assert (info.code, info.title, info.remedy) == (code, kind.title, kind.remedy)
    assert info.status in STATUSES


def test_all_problems_are_listed_by_code_page_by_page(http: httpx.Client) -> None:
    def listed(**params: str) -> Page[ProblemInfo]:
        return Page[ProblemInfo].model_validate_json(http.get("/problems", params=params).raise_for_status().content)

    whole = listed(limit="500")
    assert (whole.has_more, whole.next) == (False, None)
    assert [info.code for info in whole.data] == CODES
    for info in whole.data:
        assert info == ProblemInfo.model_validate_json(http.get(f"/problems/{info.code}").content)
    first = listed()
    assert (len(first.data), first.has_more) == (50, True)
    assert first.next is not None
    rest = listed(after=first.next)
    assert first.data + rest.data == whole.data
    assert not rest.has_more
    for wrong in ("limit=501", "limt=500"):
        problem_of(http.get(f"/problems?{wrong}"), 422, "invalid-request")


@pytest.mark.parametrize("code", ["none-such", "Not-Json", "%2e%2e", "a%00", "x" * 300, *CLIENT_CODES])
def test_codes_of_no_problem_are_not_found(http: httpx.Client, code: str) -> None:
    problem_of(http.get(f"/problems/{code}"), 404, "problem-not-found")


@pytest.mark.parametrize(
    "path", ["/", "/nothing", "/adapt/now", "/tasks/a/b", "/v2/nothing", "/ui", "/%00", "/%ff", "/é"]
)
@pytest.mark.parametrize("method", ["GET", "POST", "DELETE"])
def test_paths_of_nothing_are_not_found(http: httpx.Client, method: str, path: str) -> None:
    problem_of(http.request(method, path), 404, "route-not-found")


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [("GET", "/adapt", "POST"), ("DELETE", "/predict", "POST"), ("POST", "/limits", "GET"), ("PUT", "/tasks", "GET"),
     ("PATCH", "/models/sinusoid", "GET"), ("PUT", "/tasks/a", "DELETE, GET"), ("PUT", "/datasets", "GET, POST"),
     ("GET", "/models/sinusoid/promote", "POST"), ("OPTIONS", "/adapt", "POST")],
)  # fmt: skip
def test_other_methods_are_told_which_are_taken(http: httpx.Client, method: str, path: str, allowed: str) -> None:
    response = http.request(method, path)
    problem_of(response, 405, "method-not-allowed")
    assert response.headers["Allow"] == allowed


def test_docs_are_a_page(http: httpx.Client) -> None:
    response = http.get("/docs")
    assert response.status_code == 200
    assert response.headers["Content-Type"].startswith("text/html")


@pytest.fixture(scope="module")
def described(service: Service) -> dict[str, Any]:
    """The service's description of itself."""
    document: dict[str, Any] = service.http.get("/openapi.json").json()
    return document


def _operations(document: dict[str, Any]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    for path, item in document["paths"].items():
        for method, operation in item.items():
            yield path, method, operation


def test_description_names_every_path_and_resolves(described: dict[str, Any]) -> None:
    assert re.fullmatch(r"3\.1\.\d+", described["openapi"])
    assert described["info"].keys() >= {"title", "version"}
    assert described["paths"].keys() >= PATHS
    references = set(re.findall(r'"\$ref": "([^"]*)"', json.dumps(described)))
    schemas = {f"#/components/schemas/{name}" for name in described["components"]["schemas"]}
    assert references <= schemas
    ids = [operation["operationId"] for _, _, operation in _operations(described)]
    assert len(ids) == len(set(ids))


def test_schemas_of_the_description_are_json_schemas(described: dict[str, Any]) -> None:
    for schema in described["components"]["schemas"].values():
        Draft202012Validator.check_schema(schema)


def test_every_body_is_described(described: dict[str, Any]) -> None:
    with_body = {(path, method) for path, method, operation in _operations(described) if "requestBody" in operation}
    assert with_body == BODIES
    for path, method, operation in _operations(described):
        assert operation["summary"]
        assert operation["responses"].keys() >= {"4XX", "5XX"}
        for status, response in operation["responses"].items():
            if status != "204":
                assert all(content["schema"] for content in response["content"].values()), (path, method, status)


def test_description_takes_what_the_service_takes(described: dict[str, Any], http: httpx.Client) -> None:
    def valid(name: str, document: Any) -> bool:
        schema = {"$ref": f"#/components/schemas/{name}", "components": described["components"]}
        return bool(Draft202012Validator(schema).is_valid(document))

    body = {"support": {"inputs": [[1.0], [2.0]], "targets": [0.5, 1.0]}, "steps": 1}
    assert valid("AdaptRequest", body)
    assert not valid("AdaptRequest", {**body, "step": 1})
    assert not valid("AdaptRequest", {**body, "task_id": "../x"})
    assert valid("AdaptAnswer", http.post("/adapt", json=body).json())
    stateless = {**body, "inputs": [[1.0]]}
    assert valid("PredictRequest", stateless)
    assert valid("PredictAnswer", http.post("/predict", json=stateless).json())
    assert valid("Problem", http.get("/nothing").json())
    assert valid("Limits", http.get("/limits").json())
