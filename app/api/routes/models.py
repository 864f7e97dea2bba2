"""`/models`: what can be adapted from."""

from typing import Annotated

from fastapi import APIRouter, Path, Request, Response
from fastapi.responses import JSONResponse

from app.api.body import parsed, read_body
from app.api.context import Context, InContext
from app.api.identity import AdminTenant, AnyTenant, TrainingTenant
from app.api.model_names import found, found_own, own_name, own_prefix, public_name, told_by_public_name
from app.api.model_uploads import uploaded_model
from app.api.openapi import json_body
from app.api.routes.pages import After, Limit, Name, page
from app.api.routes.route import TenantRoute
from app.api.routes.weights import MEDIA_TYPE, SAFETENSORS, weights_response
from app.api.threads import in_thread
from app.card import Card
from app.store import Model, ModelVersion
from innerloop.wire import AuthorityRequest, Count, ModelInfo, ModelVersionInfo, Page, PromoteRequest

MAX_PROMOTE_BYTES = 1024 * 1024
FILE = {
    "requestBody": {
        "required": True,
        "content": {MEDIA_TYPE: {"schema": {"type": "string", "format": "binary"}}},
    }
}
Version = Annotated[Count, Path()]

router = APIRouter(prefix="/models", tags=["models"], route_class=TenantRoute)


@router.get("")
def list_models(context: InContext, tenant: AnyTenant, after: After = None, limit: Limit = 50) -> Page[ModelInfo]:
    """Return a page of models by name."""
    return page(context.store.models(own_prefix=own_prefix(tenant), after=after, limit=limit), model_info)


@router.get("/{name}")
def get_model(context: InContext, tenant: AnyTenant, name: Name) -> ModelInfo:
    """Return a model with all its versions."""
    return _model(context, found(context.store, tenant, name))


@router.post("/{name}/promote", openapi_extra=json_body(PromoteRequest))
async def promote(request: Request, context: InContext, tenant: AdminTenant, name: Name) -> ModelInfo:
    """Make a version the active one; also the way back."""
    body = await read_body(request, min(MAX_PROMOTE_BYTES, context.limits.max_body_bytes))
    wanted = parsed(body, PromoteRequest)
    return await in_thread(_promote, context, tenant, name, wanted)


@router.post("/{name}/authority", openapi_extra=json_body(AuthorityRequest))
async def set_authority(request: Request, context: InContext, tenant: AdminTenant, name: Name) -> ModelInfo:
    """Choose what is stored of revisions to come: their weights too, or their rows alone, to adapt again from."""
    body = await read_body(request, min(MAX_PROMOTE_BYTES, context.limits.max_body_bytes))
    wanted = parsed(body, AuthorityRequest)
    return await in_thread(_set_authority, context, tenant, name, wanted)


@router.post("/{name}/versions", response_model=ModelVersionInfo, status_code=201, openapi_extra=FILE)
async def add_version(request: Request, context: InContext, tenant: TrainingTenant, name: Name) -> Response:
    """Upload an initialisation with its card; the first version of a name becomes active, others when promoted."""
    body = await read_body(request, context.limits.max_body_bytes, MEDIA_TYPE)
    version = await in_thread(_add_version, context, tenant, name, body)
    headers = {"Location": f"/models/{name}/versions/{version.version}/weights"}
    return JSONResponse(_version_info(version).model_dump(mode="json"), 201, headers)


@router.get("/{name}/versions/{version}/weights", response_class=Response, responses=SAFETENSORS)
def get_weights(context: InContext, tenant: AnyTenant, name: Name, version: Version) -> Response:
    """Return a version's weights, as they are stored, with what is needed of its card in the metadata."""
    stored = found(context.store, tenant, name)
    with told_by_public_name(stored):
        known = context.store.model_version(stored, version)
        return weights_response(context.store.model_weights(stored, version), known.sha256, f"{name}-{version}")


@router.delete("/{name}/versions/{version}", status_code=204)
def delete_version(context: InContext, tenant: TrainingTenant, name: Name, version: Version) -> None:
    """Delete a version that no task uses and that is not the active one of several."""
    stored = found_own(context.store, tenant, name)
    with told_by_public_name(stored):
        context.store.delete_model_version(stored, version)


def _model(context: Context, stored: str) -> ModelInfo:
    with told_by_public_name(stored):
        return model_info(context.store.model(stored))


def _promote(context: Context, tenant: str, name: str, wanted: PromoteRequest) -> ModelInfo:
    stored = found_own(context.store, tenant, name)
    with told_by_public_name(stored):
        return model_info(context.store.promote(stored, wanted.version))


def _set_authority(context: Context, tenant: str, name: str, wanted: AuthorityRequest) -> ModelInfo:
    stored = found_own(context.store, tenant, name)
    with told_by_public_name(stored):
        context.store.set_authority(stored, wanted.authority)
    return _model(context, stored)


def _add_version(context: Context, tenant: str, name: str, data: bytes) -> ModelVersion:
    """Add a version to the tenant's own model of a name; whatever is shared under it stays as it is."""
    files = uploaded_model(data, name, context.limits)
    stored = own_name(tenant, name)
    context.take_room(tenant, num_bytes=len(data))
    return context.store.add_model_version(stored, files.card.model_dump(mode="json"), files.packed())


def model_info(model: Model) -> ModelInfo:
    """Return a model as the wire shows it."""
    versions = [_version_info(version) for version in model.versions]
    return ModelInfo(
        name=public_name(model.name), active_version=model.active_version, authority=model.authority, versions=versions
    )


def _version_info(version: ModelVersion) -> ModelVersionInfo:
    card = Card.model_validate(version.card).model_dump(mode="json")
    shown = {name: card[name] for name in ModelVersionInfo.model_fields if name in card}
    return ModelVersionInfo(
        version=version.version, created_at=version.created_at, bytes=version.bytes, sha256=version.sha256, **shown
    )
