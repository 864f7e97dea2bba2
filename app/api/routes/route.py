"""What the routes of tenants have in common: threads of a tenant's share, and no query parameter that is not known."""

from collections.abc import Callable, Coroutine
from functools import partial, wraps
from inspect import iscoroutinefunction, signature
from typing import Any

from fastapi import Request, Response
from fastapi.params import Query
from fastapi.routing import APIRoute

from app.api.context import context_of
from app.api.identity import identity_of
from app.api.query_params import refuse_unknown
from app.api.threads import in_thread


class ThreadedRoute(APIRoute):
    """Runs an endpoint that blocks in a thread of its tenant's share, and leaves query parameters alone."""

    def __init__(self, path: str, endpoint: Callable[..., Any], **options: Any) -> None:
        self._known = _query_names(endpoint)
        super().__init__(path, endpoint if iscoroutinefunction(endpoint) else _in_thread(endpoint), **options)


class TenantRoute(ThreadedRoute):
    """Refuses query parameters that it does not know: one that is misspelt would change what is asked for."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """Return what answers a request."""
        answer = super().get_route_handler()

        async def checked(request: Request) -> Response:
            if not self._known.issuperset(request.query_params):
                await identity_of(request, await context_of(request))  # who may not ask is told that first
                refuse_unknown(request, self._known)
            return await answer(request)

        return checked


def _query_names(endpoint: Callable[..., Any]) -> frozenset[str]:
    names = set()
    for name, parameter in signature(endpoint).parameters.items():
        for of in getattr(parameter.annotation, "__metadata__", ()):
            if isinstance(of, Query):
                names.add(of.alias or name)
    return frozenset(names)


def _in_thread(endpoint: Callable[..., Any]) -> Callable[..., Coroutine[Any, Any, Any]]:
    @wraps(endpoint)
    async def run(**values: Any) -> Any:
        return await in_thread(partial(endpoint, **values))

    return run
