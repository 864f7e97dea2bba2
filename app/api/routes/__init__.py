"""Routes by resource."""

from fastapi import APIRouter

from app.api.routes import inference, models, service, tasks

ROUTERS: tuple[APIRouter, ...] = (inference.router, models.router, tasks.router, service.router)
