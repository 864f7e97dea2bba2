"""Routes by resource."""

from fastapi import APIRouter

from app.api.routes import datasets, inference, jobs, models, service, tasks

ROUTERS: tuple[APIRouter, ...] = (
    inference.router,
    jobs.router,
    models.router,
    tasks.router,
    datasets.router,
    service.router,
)
