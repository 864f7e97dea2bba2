"""The generated contract: bodies that are read by hand are described here from their wire models."""

from typing import Any

from fastapi import FastAPI
from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from app.api.binary import MEDIA_TYPE
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
    Problem,
)
"""Models that no route declares by its signature."""


def json_body(model: type[BaseModel], *, many: bool = False, binary: bool = False) -> dict[str, Any]:
    """Return the description of a JSON body for a route that reads it by itself.

    `many`: of a list of them; `binary`: it may come as a safetensors file too.
    """
    schema: dict[str, Any] = {"$ref": REF_TEMPLATE.format(model=model.__name__)}
    if many:
        schema = {"type": "array", "items": schema, "minItems": 1}
    content = {"application/json": {"schema": schema}}
    if binary:
        content[MEDIA_TYPE] = {"schema": {"type": "string", "format": "binary"}}
    return {"requestBody": {"required": True, "content": content}}


def install_openapi(app: FastAPI) -> None:
    """Add the bodies' schemas and the one form of every error to the generated document."""
    generate = app.openapi

    def openapi() -> dict[str, Any]:
        if app.openapi_schema is None:
            document = generate()
            _, definitions = models_json_schema([(model, "validation") for model in BODIES], ref_template=REF_TEMPLATE)
            document.setdefault("components", {}).setdefault("schemas", {}).update(definitions["$defs"])
            for operations in document["paths"].values():
                for operation in operations.values():
                    _describe_errors(operation)
            app.openapi_schema = document
        return app.openapi_schema

    app.openapi = openapi  # type: ignore[method-assign]  # FastAPI's documented way to extend the document


def _describe_errors(operation: dict[str, Any]) -> None:
    schema = {"$ref": REF_TEMPLATE.format(model="Problem")}
    content = {"application/problem+json": {"schema": schema}}
    operation["responses"].pop("422", None)
    for status in ("4XX", "5XX"):
        operation["responses"][status] = {"description": "A problem document", "content": content}
