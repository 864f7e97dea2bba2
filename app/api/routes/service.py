"""What the service says of itself: limits, health, readiness, and what its errors mean."""

import json

from fastapi import APIRouter, Request, Response
from fastapi.responses import JSONResponse

from app.api.context import InContext
from app.api.problems import STATUS_OF, problem
from app.api.readiness import reasons_against
from innerloop.errors import NotReady, ProblemNotFound
from innerloop.wire import Health, Limits, ProblemInfo, Readiness

OF_TENANT = [name for name in Limits.model_fields if name.startswith("tenant_")]

router = APIRouter(tags=["service"])


@router.get("/limits")
async def limits(context: InContext) -> Limits:
    """Return every cap as a number; those of a tenant are 0, any number, while no key is configured."""
    if context.keys.are_configured:
        return context.limits
    return context.limits.model_copy(update=dict.fromkeys(OF_TENANT, 0))


@router.get("/healthz")
async def health() -> Health:
    """Tell that the process is alive."""
    return Health()


@router.get("/readyz", response_model=Readiness)
async def readiness(request: Request, context: InContext) -> Response:
    """Tell whether requests will be answered; 503 with the reasons when not."""
    reasons = await reasons_against(context)
    if not reasons:
        return JSONResponse(Readiness(ready=True, reasons=[]).model_dump())
    answer = problem(request, NotReady("; ".join(reasons)))
    document = {**json.loads(bytes(answer.body)), "ready": False, "reasons": reasons}
    return JSONResponse(document, answer.status_code, {"Retry-After": answer.headers["Retry-After"]}, answer.media_type)


@router.get("/problems/{code}")
async def problem_info(code: str) -> ProblemInfo:
    """Tell what an error code means and what to do."""
    for kind, status in STATUS_OF.items():
        if kind.code == code:
            return ProblemInfo(code=code, title=kind.title, status=status, remedy=kind.remedy)
    raise ProblemNotFound(f"no error has the code {code!r}; there are {', '.join(sorted(k.code for k in STATUS_OF))}")
