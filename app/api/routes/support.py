"""`/tasks/{id}/support`: the rows that a task was adapted on."""

import time
from typing import Annotated

from fastapi import APIRouter, Path, Query, Request, Response

from app.api.audit import asker_of, note_download
from app.api.binary import MEDIA_TYPE, wants_safetensors
from app.api.body import JSON
from app.api.context import InContext
from app.api.deadline import deadline_of
from app.api.identity import Tenant
from app.api.openapi import TIMEOUT
from app.api.outcome import Caller
from app.api.routes.pages import TaskId
from app.api.routes.route import TenantRoute
from app.api.support import Removal, remove_row, stored_support, support_json, support_tensors
from innerloop.wire import AdaptAnswer, Count, SupportAnswer

router = APIRouter(prefix="/tasks/{task_id}/support", tags=["tasks"], route_class=TenantRoute)

FORMS = {"content": {MEDIA_TYPE: {"schema": {"type": "string", "format": "binary"}}}}
Row = Annotated[int, Path(ge=0, le=2**31 - 1, description="Its place in the support of the latest revision, from 0")]


@router.get("", response_model=SupportAnswer, responses={200: FORMS})
def get_support(
    request: Request,
    context: InContext,
    tenant: Tenant,
    task_id: TaskId,
    revision: Annotated[Count | None, Query(description="The latest if absent")] = None,
) -> Response:
    """Return the support rows of a revision, in the units they were sent in; of sentences their embeddings."""
    found = stored_support(context, tenant, task_id, revision)
    asker = asker_of(request, context)
    note_download(context, tenant, task_id, found.revision.revision, asker, "download-support")
    if wants_safetensors(request.headers.get("Accept")):
        return Response(support_tensors(found), media_type=MEDIA_TYPE)
    return Response(support_json(found), media_type=JSON)


@router.delete("/{row}", openapi_extra={"parameters": [TIMEOUT]})
async def delete_row(
    request: Request,
    context: InContext,
    tenant: Tenant,
    task_id: TaskId,
    row: Row,
    if_revision: Annotated[Count | None, Query(description="Refuse unless this is the task's latest revision")] = None,
) -> AdaptAnswer:
    """Take a row out: adapt again without it, and delete every older revision of the task, which may hold it."""
    started = time.monotonic()
    route, asker = "DELETE /tasks/{task_id}/support/{row}", asker_of(request, context)
    caller = Caller(tenant, started, deadline_of(request, started), None, "", route, asker)
    outcome = await remove_row(context, caller, Removal(task_id, row, if_revision))
    return AdaptAnswer.model_validate(outcome.answer)
