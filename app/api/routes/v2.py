"""`/v2`: the Open Inference Protocol, for the clients and load generators that speak it."""

from typing import Annotated, Any

from fastapi import APIRouter, Path, Request, Response

from app.api.body import JSON, json_object, read_bytes
from app.api.context import Context, InContext, now
from app.api.identity import Tenant
from app.api.inference_protocol import repository
from app.api.inference_protocol.descriptions import config, metadata
from app.api.inference_protocol.inferring import HEADER_LENGTH, OCTETS, infer_task
from app.api.inference_protocol.requests import InferBody
from app.api.inference_protocol.statistics import Counts, as_json
from app.api.openapi import FILE, REF_TEMPLATE, TIMEOUT, header, optional_body
from app.api.readiness import reasons_against
from app.api.routes.pages import TaskId
from app.api.routes.route import ThreadedRoute
from app.api.threads import in_thread
from app.engine.engine import TaskKey
from innerloop import __version__
from innerloop.errors import NotReady
from innerloop.wire import Count

MAX_CONTROL_BYTES = 1024 * 1024
"""Of bodies that hold no rows."""
MAX_REVISIONS_SHOWN = 500
BINARY = {
    "requestBody": {
        "required": True,
        "content": {OCTETS: FILE, JSON: {"schema": {"$ref": REF_TEMPLATE.format(model=InferBody.__name__)}}},
    },
    "parameters": [TIMEOUT, header(HEADER_LENGTH, "Bytes of JSON, which raw tensors follow", "^[0-9]{1,18}$")],
}
RAW_TENSORS_TOO: dict[int | str, dict[str, Any]] = {200: {"content": {OCTETS: FILE}}}
INDEX = optional_body(description="Taken and left alone: `ready` and the like, of other servers")
FROM_STORE = optional_body(
    properties={
        "parameters": {
            "type": ["object", "null"],
            "properties": {name: {} for name in sorted(repository.CACHE_ALONE)},
            "additionalProperties": False,
        }
    },
    additionalProperties=False,
)
"""A body of `load` and `unload`, which lead to nothing but the cache."""

Revision = Annotated[Count, Path()]
Json = dict[str, Any]

router = APIRouter(prefix="/v2", tags=["open inference protocol"], route_class=ThreadedRoute)


@router.get("")
async def server_metadata() -> Json:
    """Return name, version and extensions of the server."""
    return {"name": "innerloop", "version": __version__, "extensions": ["binary_tensor_data"]}


@router.get("/health/live")
async def live() -> Json:
    """Tell that the process is alive."""
    return {"live": True}


@router.get("/health/ready")
async def ready(context: InContext) -> Json:
    """Tell whether requests will be answered; 503 with the reasons when not."""
    reasons = await reasons_against(context)
    if reasons:
        raise NotReady("; ".join(reasons))
    return {"ready": True}


@router.get("/models/stats")
async def all_statistics(context: InContext, tenant: Tenant) -> Json:
    """Return what was counted of the tasks that are still there."""
    counted = context.statistics.of(tenant)
    kept = await in_thread(lambda: context.store.stored_revisions([*counted], now=now()))
    return {"model_stats": [as_json(key, counts) for key, counts in counted.items() if key in kept]}


@router.get("/models/{task_id}/stats")
async def statistics(context: InContext, tenant: Tenant, task_id: TaskId) -> Json:
    """Return what was counted of a task's revisions."""
    return await _statistics(context, tenant, task_id, None)


@router.get("/models/{task_id}/versions/{revision}/stats")
async def statistics_of_revision(context: InContext, tenant: Tenant, task_id: TaskId, revision: Revision) -> Json:
    """Return what was counted of a revision."""
    return await _statistics(context, tenant, task_id, revision)


@router.get("/models/{task_id}/ready")
def task_ready(context: InContext, tenant: Tenant, task_id: TaskId) -> Json:
    """Tell that a task is there."""
    return {"name": repository.head(context, tenant, task_id, None).task_id, "ready": True}


@router.get("/models/{task_id}/versions/{revision}/ready")
def revision_ready(context: InContext, tenant: Tenant, task_id: TaskId, revision: Revision) -> Json:
    """Tell that a revision is there."""
    return {"name": repository.head(context, tenant, task_id, revision).task_id, "ready": True}


@router.get("/models/{task_id}")
def task_metadata(context: InContext, tenant: Tenant, task_id: TaskId) -> Json:
    """Return the tensors that a task takes and gives, and its revisions."""
    return _metadata(context, tenant, task_id, None)


@router.get("/models/{task_id}/versions/{revision}")
def revision_metadata(context: InContext, tenant: Tenant, task_id: TaskId, revision: Revision) -> Json:
    """Return the tensors that a revision takes and gives, and all revisions of its task."""
    return _metadata(context, tenant, task_id, revision)


@router.get("/models/{task_id}/config")
def task_config(context: InContext, tenant: Tenant, task_id: TaskId) -> Json:
    """Return the little of a configuration that load generators read."""
    return _config(context, tenant, task_id, None)


@router.get("/models/{task_id}/versions/{revision}/config")
def revision_config(context: InContext, tenant: Tenant, task_id: TaskId, revision: Revision) -> Json:
    """Return the same of a revision."""
    return _config(context, tenant, task_id, revision)


@router.post("/models/{task_id}/infer", response_model=Json, responses=RAW_TENSORS_TOO, openapi_extra=BINARY)
async def infer(request: Request, context: InContext, tenant: Tenant, task_id: TaskId) -> Response:
    """Predict with a task's latest revision: JSON, with raw tensors after it where the caller says so."""
    return await infer_task(request, context, tenant, task_id, None)


@router.post(
    "/models/{task_id}/versions/{revision}/infer", response_model=Json, responses=RAW_TENSORS_TOO, openapi_extra=BINARY
)
async def infer_with_revision(
    request: Request, context: InContext, tenant: Tenant, task_id: TaskId, revision: Revision
) -> Response:
    """Predict with a revision of a task."""
    return await infer_task(request, context, tenant, task_id, revision)


@router.post("/repository/index", openapi_extra=INDEX)
async def repository_index(request: Request, context: InContext, tenant: Tenant) -> list[Json]:
    """Return the tasks that changed last, at most 1 000."""
    await _control(request, context)
    return await in_thread(repository.listed, context, tenant)


@router.post("/repository/models/{task_id}/load", openapi_extra=FROM_STORE)
async def load(request: Request, context: InContext, tenant: Tenant, task_id: TaskId) -> Json:
    """Bring a task into the cache."""
    repository.check_no_files(await _control(request, context))
    await in_thread(repository.load, context, tenant, task_id)
    return {}


@router.post("/repository/models/{task_id}/unload", openapi_extra=FROM_STORE)
async def unload(request: Request, context: InContext, tenant: Tenant, task_id: TaskId) -> Json:
    """Drop a task from the cache; it stays stored, and is brought back when it is asked for."""
    repository.check_no_files(await _control(request, context))
    await in_thread(repository.unload, context, tenant, task_id)
    return {}


def _metadata(context: Context, tenant: str, task_id: str, revision: int | None) -> Json:
    head = repository.head(context, tenant, task_id, revision)
    revisions, _ = context.store.revisions(tenant, task_id, now=now(), limit=MAX_REVISIONS_SHOWN)
    return metadata(head, [found.revision for found in revisions], repository.card_of(context, head))


def _config(context: Context, tenant: str, task_id: str, revision: int | None) -> Json:
    head = repository.head(context, tenant, task_id, revision)
    return config(head, repository.card_of(context, head), context.limits.max_query_rows)


async def _statistics(context: Context, tenant: str, task_id: str, revision: int | None) -> Json:
    head = await in_thread(repository.head, context, tenant, task_id, revision)
    counted = context.statistics.of(tenant, task_id, revision)
    kept = await in_thread(lambda: context.store.stored_revisions([*counted], now=now()))
    shown = {key: counts for key, counts in counted.items() if key in kept}
    shown.setdefault(TaskKey(tenant, task_id, head.revision), Counts())
    return {"model_stats": [as_json(key, counts) for key, counts in shown.items()]}


async def _control(request: Request, context: Context) -> Json:
    """Return the JSON of a request without rows; an empty body is an empty object."""
    body = await read_bytes(request, min(MAX_CONTROL_BYTES, context.limits.max_body_bytes))
    return json_object(body) if body else {}
