"""The one table of error codes and statuses, and errors written as RFC 9457 problem documents."""

import math
from collections.abc import Mapping
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from fastapi.routing import iter_route_contexts
from starlette.exceptions import HTTPException

from app.api.request_counts import RequestCounts
from app.bearer_keys import masked
from app.telemetry import request_id_of
from innerloop import errors
from innerloop.errors import FieldError, InnerloopError

PROBLEM = "application/problem+json"
DEFAULT_RETRY_AFTER_SECONDS = 1.0
UNFORESEEN = "the service failed; its log has more under this request_id"
MAX_FIELDS = 100
"""Wrong fields that an answer names; a body may hold any number of them."""
MAX_DETAIL_CHARS = 2000
"""Names from a body or a file stand in it, and may be of any length."""
MAX_PLACE_CHARS = 200

STATUS_OF: Mapping[type[InnerloopError], int] = {
    errors.BadRequest: 400,
    errors.NotJson: 400,
    errors.NotSafetensors: 400,
    errors.InvalidIdempotencyKey: 400,
    errors.Unauthorized: 401,
    errors.ForbiddenScope: 403,
    errors.ForbiddenTenant: 403,
    errors.SharedModel: 403,
    errors.TaskNotFound: 404,
    errors.RevisionNotFound: 404,
    errors.ModelNotFound: 404,
    errors.VersionNotFound: 404,
    errors.DatasetNotFound: 404,
    errors.JobNotFound: 404,
    errors.CheckpointNotFound: 404,
    errors.RouteNotFound: 404,
    errors.RowNotFound: 404,
    errors.ProblemNotFound: 404,
    errors.MethodNotAllowed: 405,
    errors.RevisionConflict: 409,
    errors.LastRow: 409,
    errors.IdempotencyInFlight: 409,
    errors.DatasetExists: 409,
    errors.DatasetInUse: 409,
    errors.JobStateConflict: 409,
    errors.VersionInUse: 409,
    errors.BodyTooLarge: 413,
    errors.TooManyRows: 413,
    errors.TooManyRequestsInBatch: 413,
    errors.PictureTooLarge: 413,
    errors.TextTooLong: 413,
    errors.DatasetTooLarge: 413,
    errors.UnsupportedMediaType: 415,
    errors.InvalidRequest: 422,
    errors.InvalidId: 422,
    errors.ShapeMismatch: 422,
    errors.NotFinite: 422,
    errors.NonFiniteOutputs: 422,
    errors.EmptySupport: 422,
    errors.InvalidTargets: 422,
    errors.TooFewClasses: 422,
    errors.TooManyClasses: 422,
    errors.UnknownClass: 422,
    errors.StepsOverLimit: 422,
    errors.SettingOutOfRange: 422,
    errors.SettingNotSupported: 422,
    errors.InvalidPicture: 422,
    errors.InvalidText: 422,
    errors.TextNotAvailable: 422,
    errors.ModelMismatch: 422,
    errors.SupportNeeded: 422,
    errors.SupportNotStored: 422,
    errors.Diverged: 422,
    errors.IdempotencyKeyReused: 422,
    errors.InvalidDataset: 422,
    errors.InvalidArchive: 422,
    errors.InvalidWeights: 422,
    errors.TrainingDiverged: 422,
    errors.InternalError: 500,
    errors.JobCrashed: 500,
    errors.RateLimited: 429,
    errors.ShareUsedUp: 429,
    errors.StorageUsedUp: 429,
    errors.TooManyAtOnce: 429,
    errors.TooManyJobs: 429,
    errors.Overloaded: 503,
    errors.DeviceGone: 503,
    errors.DeviceOutOfMemory: 503,
    errors.Draining: 503,
    errors.NotReady: 503,
    errors.StoreUnavailable: 503,
    errors.DeadlineExceeded: 504,
    errors.StoreFull: 507,
}


def problem(request: Request, error: InnerloopError) -> JSONResponse:
    """Return the answer that tells of an error."""
    document = counted_document(request, error)
    headers = {}
    if document["status"] in (429, 503) or error.retry_after_seconds is not None:
        headers["Retry-After"] = str(math.ceil(error.retry_after_seconds or DEFAULT_RETRY_AFTER_SECONDS))
    if document["status"] == 401:
        headers["WWW-Authenticate"] = "Bearer"
    return JSONResponse(document, document["status"], headers, media_type=PROBLEM)


def counted_document(request: Request, error: InnerloopError) -> dict[str, Any]:
    """Return the body of an answer that tells of an error, or its place in the answer to a batch, and count it."""
    counts: RequestCounts = request.app.state.context.requests
    counts.note_problem(error.code)
    return problem_document(error, request_id_of(request.scope))


def problem_document(error: InnerloopError, request_id: str) -> dict[str, Any]:
    """Return an error as RFC 9457 describes it, with members of our own."""
    detail = masked(_shortened(error.detail, MAX_DETAIL_CHARS))  # it may name what a caller took a key for
    return {
        "type": f"/problems/{error.code}",
        "title": error.title,
        "status": STATUS_OF[type(error)],
        "code": error.code,
        "detail": detail,
        "error": detail,
        "remedy": error.remedy,
        "request_id": request_id,
        "errors": error.errors,
    }


def install_problem_handlers(app: FastAPI) -> None:
    """Make every status of 400 and up a problem document, the framework's own included."""

    @app.exception_handler(InnerloopError)
    async def _own(request: Request, error: InnerloopError) -> JSONResponse:
        return problem(request, error)

    @app.exception_handler(Exception)
    async def _unforeseen(request: Request, error: Exception) -> JSONResponse:
        return problem(request, errors.InternalError(UNFORESEEN))  # what surrounds all requests logs it

    @app.exception_handler(RequestValidationError)
    async def _parameters(request: Request, error: RequestValidationError) -> JSONResponse:
        return problem(request, invalid_request(error.errors()))

    @app.exception_handler(HTTPException)
    async def _framework(request: Request, error: HTTPException) -> JSONResponse:
        answer = problem(request, _of_framework(request, error))
        answer.headers.update(error.headers or {})
        if error.status_code == 405:
            answer.headers["Allow"] = ", ".join(sorted(_methods_at(request)))
        return answer


def _methods_at(request: Request) -> set[str]:
    """Return what is taken at a path: the framework names the methods of the first route there alone."""
    path = request.scope["path"]
    routes = [route for route in iter_route_contexts(request.app.routes) if route.path_regex.match(path)]
    return {method for route in routes for method in route.methods or ()}


def invalid_request(found: Any, prefix: tuple[str, ...] = ()) -> InnerloopError:
    """Return pydantic's findings as one error; a wrong id is told apart, since its remedy is another."""
    fields: list[FieldError] = [
        {
            "loc": [*prefix, *(_place(part) for part in item["loc"] if part not in ("body", "path", "query"))],
            "msg": _shortened(item["msg"].removeprefix("Value error, "), MAX_DETAIL_CHARS),
        }
        for item in found[:MAX_FIELDS]
    ]
    detail = "; ".join(f"{_dotted(field['loc'])}: {field['msg']}" for field in fields[:5])
    if len(found) > 5:
        detail += f"; and {len(found) - 5} more"
    wrong_id = all(item["type"] == "string_pattern_mismatch" for item in found)
    return (errors.InvalidId if wrong_id else errors.InvalidRequest)(detail, errors=fields)


def _place(part: str | int) -> str | int:
    return part if isinstance(part, int) else _shortened(part, MAX_PLACE_CHARS)


def _shortened(text: str, max_chars: int) -> str:
    return text if len(text) <= max_chars else text[:max_chars] + "..."


def _dotted(loc: list[str | int]) -> str:
    return ".".join(map(str, loc)) or "body"


def _of_framework(request: Request, error: HTTPException) -> InnerloopError:
    if error.status_code == 404:
        return errors.RouteNotFound(f"there is no {request.url.path!r}; GET /openapi.json lists what there is")
    if error.status_code == 405:
        return errors.MethodNotAllowed(f"{request.method} is not taken at {request.url.path!r}")
    return errors.BadRequest(str(error.detail))
