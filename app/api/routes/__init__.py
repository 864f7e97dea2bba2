"""Routes by resource."""

from collections.abc import Mapping

from fastapi import APIRouter

from app.api.hot_routes import Endpoint
from app.api.routes import datasets, inference, jobs, models, service, tasks, v2

ROUTERS: tuple[APIRouter, ...] = (
    inference.router,
    jobs.router,
    models.router,
    tasks.router,
    datasets.router,
    service.router,
    v2.router,
)

HOT_ENDPOINTS: Mapping[tuple[str, str], Endpoint] = {
    ("POST", "/adapt"): inference.adapt,
    ("POST", "/predict"): inference.predict,
}
