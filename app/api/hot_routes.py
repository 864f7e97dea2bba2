"""The routes that are asked thousands of times a second, led past the framework's general machinery."""

from collections.abc import Awaitable, Callable, Mapping
from typing import NamedTuple

from fastapi import Request, Response
from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from app.api.context import Context
from app.api.identity import allowed, identity_of
from app.api.problems import problem
from app.api.query_params import refuse_unknown
from app.store import Scope as KeyScope
from innerloop.errors import InnerloopError

Endpoint = Callable[[Request, Context, str], Awaitable[Response]]


class HotRoute(NamedTuple):
    """An endpoint, and the scope that a caller's key needs."""

    endpoint: Endpoint
    scope: KeyScope


class HotRoutes:
    """Calls an endpoint for an exact method and path; all else goes on to the framework.

    The same functions are registered there, for the generated contract: what they answer is the same either way, and
    some 100 us of a request that takes 400 are saved.
    """

    def __init__(self, app: ASGIApp, context: Context, routes: Mapping[tuple[str, str], HotRoute]) -> None:
        self.app, self._context, self._routes = app, context, routes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer, or pass the request on."""
        route = self._routes.get((scope["method"], scope["path"])) if scope["type"] == "http" else None
        if route is None:
            await self.app(scope, receive, send)
            return
        request = _HotRequest(scope, receive)
        try:
            tenant = allowed(await identity_of(request, self._context), route.scope)
            if scope["query_string"]:
                refuse_unknown(request, ())
            response = await route.endpoint(request, self._context, tenant)
        except InnerloopError as error:
            response = problem(request, error)
        await response(scope, receive, send)


class _HotRequest(Request):
    @property
    def headers(self) -> Headers:
        if not hasattr(self, "_headers"):
            self._headers = _FoundHeaders(self.scope)
        return self._headers


class _FoundHeaders(Headers):
    """Headers by name: half a dozen are looked for, and each search of the list would cost more than all of this."""

    def __init__(self, scope: Scope) -> None:
        super().__init__(raw=scope["headers"])
        self._first: dict[bytes, bytes] = {}
        for name, value in scope["headers"]:
            self._first.setdefault(name, value)  # a server gives names in lower case

    def get(self, key: str, default: str | None = None) -> str | None:  # type: ignore[override]
        found = self._first.get(key.lower().encode("latin-1"))
        return default if found is None else found.decode("latin-1")

    def getlist(self, key: str) -> list[str]:
        return super().getlist(key) if key.lower().encode("latin-1") in self._first else []
