"""Claims about /openapi.json: every route is described, with what it takes, what it gives and how it fails."""

import re
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

ROUTES = {
    ("post", "/meta-train"): ("202", "JobInfo"),
    ("get", "/meta-train"): ("200", "Page_JobInfo_"),
    ("get", "/meta-train/{job_id}"): ("200", "JobInfo"),
    ("get", "/meta-train/{job_id}/events"): ("200", "text/event-stream"),
    ("get", "/meta-train/{job_id}/checkpoint"): ("200", "application/vnd.safetensors"),
    ("post", "/meta-train/{job_id}/cancel"): ("202", "JobInfo"),
    ("post", "/meta-train/{job_id}/resume"): ("202", "JobInfo"),
    ("post", "/datasets"): ("201", "DatasetInfo"),
    ("get", "/datasets"): ("200", "Page_DatasetInfo_"),
    ("get", "/datasets/{name}"): ("200", "DatasetInfo"),
    ("delete", "/datasets/{name}"): ("204", None),
    ("post", "/models/{name}/versions"): ("201", "ModelVersionInfo"),
    ("get", "/models/{name}/versions/{version}/weights"): ("200", "application/vnd.safetensors"),
    ("delete", "/models/{name}/versions/{version}"): ("204", None),
    ("get", "/tasks/{task_id}/weights"): ("200", "application/vnd.safetensors"),
}
BODIES = {
    "/meta-train": ("application/json", "MetaTrainRequest"),
    "/datasets": ("multipart/form-data", "DatasetSpec"),
    "/models/{name}/versions": ("application/vnd.safetensors", "binary"),
}


FOREIGN = re.compile(r"ur[ln]s?|uri|href|link|path|file_?name|folder|director(y|ies)|host|endpoint|callback|webhook")
"""What a parameter would be called that makes a service fetch or open something."""


@pytest.fixture(scope="module")
def document(service: Any) -> dict[str, Any]:
    found: dict[str, Any] = service.http.get("/openapi.json").json()
    return found


@pytest.mark.parametrize(("method", "path"), ROUTES)
def test_route_is_described_with_its_answers(document: dict[str, Any], method: str, path: str) -> None:
    operation = document["paths"][path][method]
    assert operation["description"] or operation["summary"]
    status, shown = ROUTES[method, path]
    assert status in operation["responses"]
    if shown is not None:
        assert shown in str(operation["responses"][status]["content"])
    for errors in ("4XX", "5XX"):
        content = operation["responses"][errors]["content"]
        assert list(content) == ["application/problem+json"]
        assert "Problem" in str(content)
    declared = {parameter["name"] for parameter in operation.get("parameters", []) if parameter["in"] == "path"}
    assert declared == {part[1:-1] for part in path.split("/") if part.startswith("{")}


@pytest.mark.parametrize("path", BODIES)
def test_body_is_described_where_a_route_reads_it_by_itself(document: dict[str, Any], path: str) -> None:
    media_type, shown = BODIES[path]
    body = document["paths"][path]["post"]["requestBody"]
    assert body["required"] is True
    assert list(body["content"]) == [media_type]
    assert shown in str(body["content"][media_type])


def test_headers_and_queries_are_described(document: dict[str, Any]) -> None:
    def names(method: str, path: str) -> set[str]:
        return {parameter["name"] for parameter in document["paths"][path][method]["parameters"]}

    assert "Last-Event-ID" in names("get", "/meta-train/{job_id}/events")
    assert {"revision", "form"} <= names("get", "/tasks/{task_id}/weights")
    for path in ("/meta-train", "/datasets"):
        assert {"after", "limit"} <= names("get", path)


def test_every_reference_leads_somewhere(document: dict[str, Any]) -> None:
    def references(part: Any) -> set[str]:
        if isinstance(part, dict):
            own = {part["$ref"]} if isinstance(part.get("$ref"), str) else set()
            return own.union(*(references(value) for value in part.values()))
        return set().union(*(references(value) for value in part)) if isinstance(part, list) else set()

    schemas = document["components"]["schemas"]
    found = references(document)
    assert {"#/components/schemas/JobInfo", "#/components/schemas/DatasetSpec"} <= found
    assert {name for name in found if name.rpartition("/")[2] not in schemas} == set()


def test_error_codes_of_jobs_and_data_are_explained(http: httpx.Client) -> None:
    for code in ("job-not-found", "job-state", "dataset-in-use", "version-in-use", "training-diverged", "job-crashed",
                 "invalid-weights", "invalid-archive", "dataset-too-large", "checkpoint-not-found"):  # fmt: skip
        shown = http.get(f"/problems/{code}").json()
        assert shown["code"] == code
        assert shown["title"]
        assert shown["remedy"]


def named(schema: Any) -> Iterator[str]:
    """Yield the name of every property, however deep, and what the schema says of formats."""
    if isinstance(schema, list):
        for part in schema:
            yield from named(part)
    elif isinstance(schema, dict):
        yield from schema.get("properties", {})
        yield str(schema.get("format", ""))
        for part in schema.values():
            yield from named(part)


def test_nothing_that_is_sent_names_a_place_to_fetch_from_or_to_open(document: dict[str, Any]) -> None:
    names = set(named(document["components"]["schemas"])) | set(named(document["paths"]))
    for operations in document["paths"].values():
        names |= {parameter["name"] for one in operations.values() for parameter in one.get("parameters", [])}
    assert {"task_id", "support", "inputs", "dataset", "binary", "Last-Event-ID"} <= names
    assert [name for name in sorted(names) if FOREIGN.fullmatch(name.lower())] == []
