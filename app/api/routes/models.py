"""`/models`: what can be adapted from."""

from anyio import to_thread
from fastapi import APIRouter, Request

from app.api.body import parsed, read_body
from app.api.context import InContext
from app.api.openapi import json_body
from app.api.routes.pages import After, Limit, Name, page
from app.card import Card
from app.store import Model, ModelVersion
from innerloop.wire import ModelInfo, ModelVersionInfo, Page, PromoteRequest

MAX_PROMOTE_BYTES = 1024 * 1024

router = APIRouter(prefix="/models", tags=["models"])


@router.get("")
def list_models(context: InContext, after: After = None, limit: Limit = 50) -> Page[ModelInfo]:
    """Return a page of models by name."""
    return page(context.store.models(after=after, limit=limit), model_info)


@router.get("/{name}")
def get_model(context: InContext, name: Name) -> ModelInfo:
    """Return a model with all its versions."""
    return model_info(context.store.model(name))


@router.post("/{name}/promote", openapi_extra=json_body(PromoteRequest))
async def promote(request: Request, context: InContext, name: Name) -> ModelInfo:
    """Make a version the active one; also the way back."""
    body = await read_body(request, min(MAX_PROMOTE_BYTES, context.limits.max_body_bytes))
    wanted = parsed(body, PromoteRequest)
    return model_info(await to_thread.run_sync(context.store.promote, name, wanted.version))


def model_info(model: Model) -> ModelInfo:
    """Return a model as the wire shows it."""
    versions = [_version_info(version) for version in model.versions]
    return ModelInfo(name=model.name, active_version=model.active_version, versions=versions)


def _version_info(version: ModelVersion) -> ModelVersionInfo:
    card = Card.model_validate(version.card).model_dump(mode="json")
    shown = {name: card[name] for name in ModelVersionInfo.model_fields if name in card}
    return ModelVersionInfo(
        version=version.version, created_at=version.created_at, bytes=version.bytes, sha256=version.sha256, **shown
    )
