"""`/meta-train`: background meta-training."""

from functools import partial
from typing import Annotated

from fastapi import APIRouter, Header, Request, Response
from fastapi.responses import JSONResponse, StreamingResponse

from app.api.body import parsed, read_body
from app.api.context import InContext, now
from app.api.event_stream import MEDIA_TYPE, event_stream, last_event_id
from app.api.idempotency import REPLAYED_HEADER, answer_once, idempotency_key
from app.api.identity import Asking, TrainingTenant, may_stay
from app.api.openapi import IDEMPOTENCY_KEY, json_body
from app.api.outcome import Caller, Outcome
from app.api.routes.pages import After, Limit, TaskId, page
from app.api.routes.route import TenantRoute
from app.api.routes.weights import SAFETENSORS, weights_response
from app.api.threads import in_thread
from app.api.training import ENDED, enqueue, job_info
from app.trees import sha256
from innerloop.wire import JobInfo, MetaTrainRequest, Page

router = APIRouter(prefix="/meta-train", tags=["meta-training"], route_class=TenantRoute)

JobId = TaskId
LAST_EVENT_ID = Header(
    alias="Last-Event-ID", description="Go on after this event", json_schema_extra={"pattern": "^[0-9]{0,10}$"}
)
"""The pattern is described alone: it is read by hand, and what is wrong with it is a bad request."""


@router.post(
    "",
    response_model=JobInfo,
    status_code=202,
    openapi_extra=json_body(MetaTrainRequest, headers=[IDEMPOTENCY_KEY]),
)
async def meta_train(request: Request, context: InContext, tenant: TrainingTenant) -> Response:
    """Queue a meta-training job; all of its request is checked first."""
    key = idempotency_key(request, context.limits.max_idempotency_key_chars)
    body = await read_body(request, context.limits.max_body_bytes)
    caller = Caller.of(tenant, "POST /meta-train", key, await in_thread(sha256, body) if key else "")

    def compute() -> Outcome:
        return enqueue(context, caller, parsed(body, MetaTrainRequest))

    outcome, replayed = await answer_once(context, caller, lambda: in_thread(compute, limiter=context.planning))
    if context.worker:
        context.worker.wake()
    headers = {"Location": f"/meta-train/{outcome.answer['job_id']}"}
    return JSONResponse(outcome.answer, outcome.status, headers | ({REPLAYED_HEADER: "true"} if replayed else {}))


@router.get("")
def list_jobs(context: InContext, tenant: TrainingTenant, after: After = None, limit: Limit = 50) -> Page[JobInfo]:
    """Return a page of jobs, the newest first."""
    return page(context.store.jobs(tenant, after=after, limit=limit), job_info)


@router.get("/{job_id}")
def get_job(context: InContext, tenant: TrainingTenant, job_id: JobId) -> JobInfo:
    """Return a job: its status, how far it is, and what was asked for."""
    return job_info(context.store.job(tenant, job_id))


@router.get(
    "/{job_id}/events",
    response_class=StreamingResponse,
    responses={
        200: {"content": {MEDIA_TYPE: {"schema": {"type": "string"}}}, "description": "Server-sent events"},
        204: {"description": "There is nothing more to come"},
    },
)
async def job_events(
    context: InContext,
    tenant: TrainingTenant,
    identity: Asking,
    job_id: JobId,
    last: Annotated[str | None, LAST_EVENT_ID] = None,
) -> Response:
    """Stream a job's events: `progress`, `status`, `end`; those after `Last-Event-ID` first."""
    after = last_event_id(last)
    job = await in_thread(context.store.job, tenant, job_id)
    if job.status in ENDED and (job.is_purged or job.last_event <= after):
        return Response(status_code=204)
    headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
    events = event_stream(context, tenant, job_id, after, partial(may_stay, context, identity))
    return StreamingResponse(events, media_type=MEDIA_TYPE, headers=headers)


@router.get("/{job_id}/checkpoint", response_class=Response, responses=SAFETENSORS)
def job_checkpoint(context: InContext, tenant: TrainingTenant, job_id: JobId) -> Response:
    """Return the job's last checkpoint: weights, optimiser and generator, and the best weights so far."""
    found = context.store.checkpoint(tenant, job_id)
    return weights_response(found.data, found.sha256, f"{job_id}-{found.iteration}")


@router.post("/{job_id}/cancel", status_code=202)
def cancel_job(context: InContext, tenant: TrainingTenant, job_id: JobId) -> JobInfo:
    """Stop a job within one progress step; its last checkpoint is kept."""
    job = context.store.request_cancel(tenant, job_id, now=now())
    if context.worker:
        context.worker.wake()
    return job_info(job)


@router.post("/{job_id}/resume", status_code=202)
def resume_job(context: InContext, tenant: TrainingTenant, job_id: JobId) -> JobInfo:
    """Let a cancelled or failed job go on from its last checkpoint."""
    job = context.store.resume_job(
        tenant,
        job_id,
        now=now(),
        max_queued=context.limits.max_jobs_queued,
        max_queued_of_tenant=context.max_queued_of_tenant,
    )
    if context.worker:
        context.worker.wake()
    return job_info(job)
