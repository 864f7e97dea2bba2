"""What the service says of itself: limits, health, readiness, and what its errors mean."""

import json

from fastapi import APIRouter, Request, Response
from fastapi.responses import JSONResponse

from app.api.context import InContext
from app.api.problems import STATUS_OF, problem
from app.api.query_params import refuse_unknown
from app.api.readiness import reasons_against
from app.api.routes.pages import After, Limit, page
from innerloop.errors import NotReady, ProblemNotFound
from innerloop.wire import Health, Limits, Page, ProblemInfo, Readiness

_KINDS = {kind.code: kind for kind in STATUS_OF}
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


@router.get("/problems")
async def problem_infos(request: Request, after: After = None, limit: Limit = 50) -> Page[ProblemInfo]:
    """Return a page of the error codes, by code: what each means and what to do."""
    refuse_unknown(request, ("after", "limit"))
    rest = [code for code in sorted(_KINDS) if after is None or code > after]
    shown = rest[:limit]
    return page((shown, shown[-1] if len(rest) > limit else None), _info)


@router.get("/problems/{code}")
async def problem_info(code: str) -> ProblemInfo:
    """Tell what an error code means and what to do."""
    if code not in _KINDS:
        raise ProblemNotFound(f"no error has the code {code!r}; there are {', '.join(sorted(_KINDS))}")
    return _info(code)


def _info(code: str) -> ProblemInfo:
    kind = _KINDS[code]
    return ProblemInfo(code=code, title=kind.title, status=STATUS_OF[kind], remedy=kind.remedy)
