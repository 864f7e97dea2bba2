"""The composition root: makes every part from the settings and knows them all; holds no logic of its own."""

import asyncio
import gc
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any

import structlog
import torch
from anyio import to_thread
from fastapi import FastAPI
from starlette.types import Receive, Scope, Send

from app.api.context import Context, limits_of, now
from app.api.hot_routes import HotRoutes
from app.api.key_watch import KeyWatch
from app.api.middleware import RequestIdMiddleware
from app.api.openapi import install_openapi
from app.api.problems import install_problem_handlers
from app.api.routes import HOT_ROUTES, ROUTERS
from app.api.stages import Stage
from app.api.storage_limits import StorageLimits
from app.api.tenant_limits import Rates, TenantLimits
from app.api.tracing import Tracing
from app.card import Card
from app.engine.compiled import CompiledPaths
from app.engine.compiled_child import compile_in_child
from app.engine.engine import Engine
from app.engine.load import Load, LoadLimits
from app.jobs.model_files import ModelFiles, model_of, shipped_models
from app.jobs.options import WorkerOptions
from app.jobs.worker import JobWorker
from app.learners.model import Model
from app.programs.folder import ProgramFolder
from app.programs.process import has_compiler
from app.settings import Settings, is_loopback
from app.store import Store, open_store
from innerloop import __version__
from innerloop.errors import InnerloopError, ModelNotFound

UNGUARDED = (
    "HOST={host} would serve other machines, and there is no key yet: anybody who reaches it could use it. Make one "
    "with `python -m app keys create --tenant NAME`, leave HOST at 127.0.0.1, or set ALLOW_NO_KEYS=1 if that is meant"
)

log = structlog.get_logger()


def create_app(context: Context) -> FastAPI:
    """Return the service over a context that `make_context` made; it is closed with the app's lifespan."""
    app = _App(
        context,
        title="innerloop",
        version=__version__,
        summary="Few-shot adaptation over HTTP: send a support set, get a model of your own.",
        lifespan=_lifespan,
        redirect_slashes=False,  # its redirect would lead to whatever host the caller named
    )
    app.state.context = context
    install_problem_handlers(app)
    for router in ROUTERS:
        app.include_router(router)
    install_openapi(app)
    return app


class _App(FastAPI):
    """The framework's application with what surrounds every request around all of it."""

    def __init__(self, context: Context, **options: Any) -> None:
        super().__init__(**options)
        self._surrounded = RequestIdMiddleware(
            HotRoutes(super().__call__, context, HOT_ROUTES), context.requests, context.tracing
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        scope["app"] = self  # as the framework does, which not every request reaches
        await self._surrounded(scope, receive, send)


@asynccontextmanager
async def _lifespan(app: FastAPI) -> AsyncIterator[None]:
    context: Context = app.state.context
    purging = asyncio.create_task(_purge_forever(context))
    if context.worker:
        context.worker.start()
    try:
        yield
    finally:
        purging.cancel()
        await asyncio.gather(purging, return_exceptions=True)
        if context.worker:
            await to_thread.run_sync(context.worker.close)
        for stage in (context.looking, context.identifying, context.reading, context.engine, context.writing):
            await to_thread.run_sync(stage.close)
        await to_thread.run_sync(context.store.close)
        if context.tracing:
            await to_thread.run_sync(context.tracing.close)


def make_context(settings: Settings) -> Context:
    """Open the store, register the shipped models and start the engine; blocks.

    Raises StoreUnavailable or StoreFull, and ValueError for a device, a database or a model file that is none, for an
    address that others reach while nobody needs a key, and for traces that nothing here can send.
    """
    store = opened_store(settings)
    has_keys = store.has_keys()
    if not (has_keys or settings.allow_no_keys or is_loopback(settings.host)):
        store.close()
        raise ValueError(UNGUARDED.format(host=settings.host))
    for files in shipped_models(settings.models_dir):
        store.add_model_version(files.card.name, files.card.model_dump(mode="json"), files.packed())
    device = device_of(settings.device)
    compute_threads = settings.compute_threads or max(1, (os.cpu_count() or 1) // 2)
    tracing = Tracing(settings.otel_exporter_otlp_endpoint) if settings.otel_exporter_otlp_endpoint else None
    load = Load(LoadLimits(settings.max_wait_seconds, settings.rush_wait_seconds))
    engine = Engine(
        device,
        lambda name, version: _load_model(store, name, version),
        cache_bytes=settings.task_cache_bytes,
        model_cache_bytes=settings.model_cache_bytes,
        text_cache_bytes=settings.text_cache_bytes,
        max_depth=settings.max_queue_depth,
        compute_threads=compute_threads,
        compiled=_compiled_paths(settings, device, compute_threads),
        load=load,
    )
    _warm_up(engine, store, settings.default_model)
    return Context(
        settings,
        limits_of(settings),
        store,
        engine,
        reading=Stage("reading", settings.max_queue_depth, engine.worker),
        writing=Stage("writing", settings.max_queue_depth),
        load=load,
        rates=TenantLimits(_rates(settings)),
        storage=StorageLimits(settings.tenant_tasks, settings.tenant_bytes, store.usage),
        identifying=Stage("identifying", settings.max_queue_depth),
        looking=Stage("looking", settings.max_queue_depth),
        keys=KeyWatch(are_configured=has_keys),
        worker=make_worker(settings, store) if settings.job_worker else None,
        tracing=tracing,
    )


def _rates(settings: Settings) -> Rates:
    return Rates(settings.tenant_requests_per_second, settings.tenant_burst_requests, settings.tenant_requests_at_once)


def _compiled_paths(settings: Settings, device: torch.device, threads: int) -> CompiledPaths | None:
    """Return the compiled paths of the CPU, where they are wanted; without a compiler what was compiled before."""
    if device.type != "cpu" or settings.compile_serving == "never":
        return None
    compile_with = compile_in_child if has_compiler() else None
    folder = settings.data_dir / "compiled" / "serving"
    try:
        return CompiledPaths(ProgramFolder(folder), threads=threads, compile_with=compile_with)
    except OSError as error:
        log.warning("nothing is compiled", folder=str(folder), reason=str(error))
        return None


def opened_store(settings: Settings) -> Store:
    """Open the store of the settings; StoreUnavailable, StoreFull, ValueError."""
    return open_store(
        settings.store_url,
        synchronous=settings.sqlite_synchronous,
        wait_ms=settings.store_wait_ms,
        num_connections=settings.store_connections,
    )


def make_worker(settings: Settings, store: Store) -> JobWorker:
    """Return the worker of meta-training jobs that the settings ask for; ValueError for a device that is not there."""
    device = settings.device if settings.training_device == "same" else settings.training_device
    options = WorkerOptions(
        heartbeat_seconds=settings.heartbeat_seconds,
        device=str(device_of(device)),
        limits=limits_of(settings),
        max_crashes=settings.max_job_crashes,
        programs=settings.data_dir / "compiled" / "training",
    )
    return JobWorker(store, options)


def _warm_up(engine: Engine, store: Store, default_model: str) -> None:
    try:
        version = store.model_version(default_model)
    except ModelNotFound:  # /readyz tells of it
        log.warning("the default model is not there", model=default_model)
        return
    engine.warm_up(engine.model(version.name, version.version))


def device_of(name: str) -> torch.device:
    """Return the device of a setting; `auto` is a GPU where there is one. ValueError for one that is not there."""
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        return torch.empty(0, device=name).device
    except (RuntimeError, AssertionError) as error:
        raise ValueError(f"there is no device {name!r} here; there are {', '.join(_devices())}") from error


def _devices() -> list[str]:
    num = torch.cuda.device_count()
    return ["auto", "cpu", *(["cuda"] if num else []), *(f"cuda:{index}" for index in range(num))]


def _load_model(store: Store, name: str, version: int) -> Model:
    card = Card.model_validate(store.model_version(name, version).card)
    return model_of(ModelFiles(card, store.model_weights(name, version)))


async def _purge_forever(context: Context) -> None:
    """Delete expired tasks, what is kept for a while alone, and cyclic garbage from time to time."""
    while True:
        await asyncio.sleep(context.settings.purge_every_seconds)
        gc.collect()  # by allocations alone it would come too seldom or, with a large cache, too often
        try:
            await to_thread.run_sync(_purge, context)
        except InnerloopError as error:  # the store may be away for a while
            log.warning("expired tasks were not deleted", reason=error.detail)
        except Exception as error:
            log.error("expired tasks were not deleted", exc_info=error)


def _purge(context: Context) -> None:
    """Delete what has expired or is old from store and cache, and from the cache what other replicas deleted."""
    moment = now()
    while context.store.purge_expired(now=moment):
        pass
    cached = context.engine.cached_tasks()
    context.engine.forget_revisions({*cached} - context.store.stored_revisions(cached, now=moment))
    if context.settings.job_days:
        ended_before = moment - timedelta(days=context.settings.job_days)
        while context.store.purge_jobs(before=ended_before):
            pass
    context.store.purge_answers(before=moment - timedelta(seconds=context.settings.idempotency_ttl_seconds))
    days = context.settings.audit_days
    noted_before = moment - timedelta(days=days) if days else moment + timedelta(seconds=1)  # what just expired too
    while context.store.purge_audit(before=noted_before):
        pass
    context.store.forget_overwritten()
