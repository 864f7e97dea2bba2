"""`GET /metrics`: numbers for Prometheus."""

from typing import Any

from anyio import to_thread
from fastapi import APIRouter, Request, Response

from app.api.context import InContext
from app.api.identity import Operator
from app.api.metrics import metrics_text

router = APIRouter(tags=["service"])


TEXT: dict[int | str, dict[str, Any]] = {
    200: {"content": {"text/plain": {"schema": {"type": "string"}}}, "description": "Metrics, one a line"}
}


@router.get("/metrics", response_class=Response, responses=TEXT)
async def metrics(request: Request, context: InContext, tenant: Operator) -> Response:
    """Return what there is to count and to measure, in the format of Prometheus or that of OpenMetrics."""
    accept = request.headers.get("Accept", "")
    text, media_type = await to_thread.run_sync(metrics_text, context, accept)
    return Response(text, headers={"Content-Type": media_type})
