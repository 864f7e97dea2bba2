"""Routes by resource."""

from collections.abc import Mapping

from fastapi import APIRouter

from app.api.hot_routes import HotRoute
from app.api.routes import audit, datasets, inference, jobs, metrics, models, service, support, tasks, v2

ROUTERS: tuple[APIRouter, ...] = (
    inference.router,
    jobs.router,
    models.router,
    tasks.router,
    support.router,
    audit.router,
    datasets.router,
    service.router,
    metrics.router,
    v2.router,
)

HOT_ROUTES: Mapping[tuple[str, str], HotRoute] = {
    ("POST", "/adapt"): HotRoute(inference.adapt, "use"),
    ("POST", "/predict"): HotRoute(inference.predict, "use"),
}
