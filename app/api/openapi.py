"""The generated contract: bodies that are read by hand are described here from their wire models."""

from typing import Any

from fastapi import FastAPI
from fastapi.dependencies.models import Dependant
from fastapi.routing import iter_route_contexts
from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from app.api.binary import MEDIA_TYPE
from app.api.deadline import MILLISECONDS, TIMEOUT_HEADER
from app.api.identity import identity_of
from app.api.inference_protocol.requests import InferBody
from innerloop.wire import (
    AdaptRequest,
    AuthorityRequest,
    DatasetSpec,
    MetaTrainRequest,
    PredictRequest,
    Problem,
    PromoteRequest,
)

REF_TEMPLATE = "#/components/schemas/{model}"
BODIES: tuple[type[BaseModel], ...] = (
    AdaptRequest,
    PredictRequest,
    MetaTrainRequest,
    PromoteRequest,
    AuthorityRequest,
    DatasetSpec,
    InferBody,
    Problem,
)
"""Models that no route declares by its signature."""


FILE: dict[str, Any] = {"schema": {"type": "string", "format": "binary"}}
"""The description of bytes, in a body or an answer."""
SAFETENSORS_TOO: dict[str, Any] = {"content": {MEDIA_TYPE: FILE}}
"""Of an answer that comes as safetensors where `Accept` says so."""
ANYTHING = {"description": "Whatever else stands in its place is answered there, with a problem document"}


def json_body(
    model: type[BaseModel], *, many: bool = False, binary: bool = False, headers: list[dict[str, Any]] | None = None
) -> dict[str, Any]:
    """Return the description of a JSON body for a route that reads it, and `headers`, by itself.

    `many`: of a list of them; `binary`: it may come as a safetensors file too.
    """
    schema: dict[str, Any] = {"$ref": REF_TEMPLATE.format(model=model.__name__)}
    if many:
        schema = {"type": "array", "items": {"anyOf": [schema, ANYTHING]}, "minItems": 1}
    content = {"application/json": {"schema": schema}}
    if binary:
        content[MEDIA_TYPE] = FILE
    return {"requestBody": {"required": True, "content": content}, "parameters": headers or []}


def optional_body(**schema: Any) -> dict[str, Any]:
    """Return the description of a JSON object that may be left out."""
    content = {"application/json": {"schema": {"type": "object", **schema}}}
    return {"requestBody": {"required": False, "content": content}}


def header(name: str, description: str, pattern: str) -> dict[str, Any]:
    """Return the description of a header that a request may have."""
    schema = {"type": "string", "pattern": pattern}
    return {"name": name, "in": "header", "required": False, "description": description, "schema": schema}


TIMEOUT = header(TIMEOUT_HEADER, "How long the caller waits; the work is not done later", MILLISECONDS)
IDEMPOTENCY_KEY = header("Idempotency-Key", "The same key and body give the same answer", "^[!-~]([ -~]{0,253}[!-~])?$")


def install_openapi(app: FastAPI) -> None:
    """Add the bodies' schemas and the one form of every error to the generated document."""
    generate = app.openapi

    def openapi() -> dict[str, Any]:
        if app.openapi_schema is None:
            document = generate()
            _, definitions = models_json_schema([(model, "validation") for model in BODIES], ref_template=REF_TEMPLATE)
            components = document.setdefault("components", {})
            components.setdefault("schemas", {}).update(definitions["$defs"])
            components["securitySchemes"] = {"key": {"type": "http", "scheme": "bearer"}}
            for operations in document["paths"].values():
                for operation in operations.values():
                    _describe_errors(operation)
            for route in iter_route_contexts(app.routes):
                if route.path in document["paths"] and not _asks_who(route.dependant):
                    for method in route.methods or ():
                        document["paths"][route.path][method.lower()]["security"] = []
            app.openapi_schema = document
        # A key is wanted from the first one on that was made.
        needs_key = app.state.context.keys.are_configured
        return {**app.openapi_schema, "security": [{"key": []}] if needs_key else [{"key": []}, {}]}

    app.openapi = openapi  # type: ignore[method-assign]  # FastAPI's documented way to extend the document


def _asks_who(dependant: Dependant) -> bool:
    """Tell whether a route wants a key, once there is one."""
    return dependant.call is identity_of or any(map(_asks_who, dependant.dependencies))


def _describe_errors(operation: dict[str, Any]) -> None:
    schema = {"$ref": REF_TEMPLATE.format(model="Problem")}
    content = {"application/problem+json": {"schema": schema}}
    operation["responses"].pop("422", None)
    for status in ("4XX", "5XX"):
        operation["responses"][status] = {"description": "A problem document", "content": content}
