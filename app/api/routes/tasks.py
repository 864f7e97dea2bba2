"""`/tasks`: what was adapted."""

from dataclasses import replace
from typing import Annotated

from fastapi import APIRouter, Query, Request, Response

from app.api.audit import asker_of, note_download
from app.api.context import InContext, now
from app.api.identity import Tenant
from app.api.model_names import public_name, stored_names
from app.api.routes.pages import ID_PATTERN, After, Limit, TaskId, page
from app.api.routes.route import TenantRoute
from app.api.routes.weights import SAFETENSORS, weights_response
from app.api.task_weights import Form, task_weights
from app.api.threads import in_thread
from app.store import Revision, Task
from app.trees import sha256
from innerloop.wire import Count, Page, RevisionInfo, TaskInfo

router = APIRouter(prefix="/tasks", tags=["tasks"], route_class=TenantRoute)

OfModel = Annotated[str | None, Query(pattern=ID_PATTERN, description="Only tasks of this model")]


@router.get("")
def list_tasks(
    context: InContext, tenant: Tenant, model: OfModel = None, after: After = None, limit: Limit = 50
) -> Page[TaskInfo]:
    """Return a page of tasks by id."""
    models = stored_names(tenant, model) if model else None
    return page(context.store.tasks(tenant, now=now(), models=models, after=after, limit=limit), _task_info)


@router.get("/{task_id}")
def get_task(context: InContext, tenant: Tenant, task_id: TaskId) -> TaskInfo:
    """Return what is known of a task."""
    return _task_info(context.store.task(tenant, task_id, now=now()))


@router.get("/{task_id}/revisions")
def list_revisions(
    context: InContext, tenant: Tenant, task_id: TaskId, after: After = None, limit: Limit = 50
) -> Page[RevisionInfo]:
    """Return a page of a task's revisions, the newest first."""
    return page(context.store.revisions(tenant, task_id, now=now(), after=after, limit=limit), _revision_info)


@router.get("/{task_id}/weights", response_class=Response, responses=SAFETENSORS)
def get_weights(
    request: Request,
    context: InContext,
    tenant: Tenant,
    task_id: TaskId,
    revision: Annotated[Count | None, Query(description="The latest if absent")] = None,
    form: Annotated[Form, Query(description="All weights, or what adaptation changed")] = "full",
) -> Response:
    """Return the adapted weights with their card: take your model and leave."""
    found, data = task_weights(context, tenant, task_id, revision, form)
    note_download(context, tenant, task_id, found, asker_of(request, context), "download-weights")
    return weights_response(data, sha256(data), f"{task_id}-{found}-{form}")


@router.delete("/{task_id}", status_code=204)
async def delete_task(request: Request, context: InContext, tenant: Tenant, task_id: TaskId) -> None:
    """Delete a task: its rows, its weights and all its revisions."""
    note = asker_of(request, context).note("delete")
    with context.turns.caller() as turn:  # what is being adapted now is stored and cached before, or not at all
        await turn.wait((tenant, task_id), None)
        await in_thread(lambda: context.store.delete_task(tenant, task_id, now=now(), note=note))
        context.engine.forget_task(tenant, task_id)


def _task_info(task: Task) -> TaskInfo:
    return TaskInfo.model_validate(replace(task, model=public_name(task.model)), from_attributes=True)


def _revision_info(revision: Revision) -> RevisionInfo:
    return RevisionInfo(
        task_id=revision.task_id,
        revision=revision.revision,
        model=public_name(revision.model),
        model_version=revision.model_version,
        steps=revision.answer["steps"],
        kept_step=revision.answer["kept_step"],
        support_size=revision.support_size,
        support_stored=revision.support_stored,
        classes=revision.classes,
        bytes=revision.bytes,
        created_at=revision.created_at,
    )
