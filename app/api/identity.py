"""Who asks: nobody in particular while there are no keys, else whoever a key was made for."""

from collections.abc import Awaitable, Callable, Sequence
from typing import Annotated, NamedTuple

from fastapi import Depends, Request

from app.api.context import DEFAULT_TENANT, Context, InContext
from app.api.stages import as_it_is
from app.bearer_keys import hashed, is_key
from app.store import SCOPES, Identity, Scope, Store
from innerloop.errors import ForbiddenScope, ForbiddenTenant, Unauthorized

NOBODY = Identity(DEFAULT_TENANT, None, frozenset(SCOPES))
SLOT = "slot"
"""Where a request keeps its place among those of its tenant."""
LEFT = "left"
"""Where a request keeps the headers that tell what is left of its tenant's limits."""
STATE = "identity"
"""Where a request keeps who asks, for log lines and the like."""


class _Shown(NamedTuple):
    """A key that a caller shows."""

    store: Store
    key: str


async def identity_of(request: Request, context: InContext) -> Identity:
    """Return who asks; Unauthorized where keys are configured and this request has none that is good.

    Of those who have, RateLimited and TooManyAtOnce; whoever answers the request gives its slot back.
    """
    if not context.keys.are_configured and not await _configured_now(context):
        return NOBODY
    identity = await _identified(request, context)
    state = request.scope.setdefault("state", {})
    state[STATE] = identity
    context.threads.enter(identity.tenant)
    try:
        state[SLOT] = context.rates.enter(identity.tenant)
    finally:
        state[LEFT] = context.rates.headers(identity.tenant)
    return identity


def tenant_with(scope: Scope) -> Callable[[Identity], Awaitable[str]]:
    """Return the dependency that gives the tenant of a caller whose key has `scope`; ForbiddenScope."""

    async def tenant(identity: Annotated[Identity, Depends(identity_of)]) -> str:
        return allowed(identity, scope)

    return tenant


async def tenant_of(identity: Annotated[Identity, Depends(identity_of)]) -> str:
    """Return the tenant of a caller, whatever their key allows."""
    return identity.tenant


async def operator_of(identity: Annotated[Identity, Depends(identity_of)]) -> str:
    """Return the tenant of a caller who runs the service: it tells of all tenants. ForbiddenScope, ForbiddenTenant."""
    tenant = allowed(identity, "admin")
    if tenant != DEFAULT_TENANT:
        raise ForbiddenTenant(f"this tells of all tenants: it needs a key of the tenant {DEFAULT_TENANT}")
    return tenant


def may_stay(context: Context, identity: Identity) -> bool:
    """Tell whether a caller who was let in is still welcome: the key was not revoked, or none is needed yet. Blocks."""
    if identity.key_id is not None:
        return context.store.is_good_key(identity.key_id)
    keys = context.keys
    return not (keys.are_configured or (keys.is_due and keys.look(context.store)))


def allowed(identity: Identity, scope: Scope) -> str:
    """Return the tenant of a caller whose key has `scope`; ForbiddenScope."""
    if scope not in identity.scopes:
        has = ", ".join(known for known in SCOPES if known in identity.scopes)
        raise ForbiddenScope(f"this needs a key with the scope {scope!r}; the key {identity.key_id} has {has}")
    return identity.tenant


async def _configured_now(context: Context) -> bool:
    """Tell whether there are keys by now; asks the store once a second, for all that wait."""
    if not context.keys.is_due:
        return False
    configured: bool = await context.identifying.run(_look, context, as_it_is)
    return configured


def _look(contexts: Sequence[Context], quick: bool) -> list[bool]:
    return [contexts[0].keys.look(contexts[0].store)] * len(contexts)


async def _identified(request: Request, context: Context) -> Identity:
    scheme, _, key = request.headers.get("Authorization", "").partition(" ")
    key = key.strip()
    if scheme.lower() != "bearer" or not is_key(key):
        raise Unauthorized("this service wants a key: send it as `Authorization: Bearer il_...`")
    identity: Identity = await context.identifying.run(_identify, _Shown(context.store, key), as_it_is)
    return identity


def _identify(shown: Sequence[_Shown], quick: bool) -> list[Identity | Exception]:
    """Return whose each key is: one query for all that wait, so that a key that is revoked is refused at once."""
    found = shown[0].store.identities([hashed(one.key) for one in shown])
    return [identity or Unauthorized("the key is not known, or was revoked") for identity in found]


AnyTenant = Annotated[str, Depends(tenant_of)]
Tenant = Annotated[str, Depends(tenant_with("use"))]
TrainingTenant = Annotated[str, Depends(tenant_with("train"))]
AdminTenant = Annotated[str, Depends(tenant_with("admin"))]
Operator = Annotated[str, Depends(operator_of)]
Asking = Annotated[Identity, Depends(identity_of)]
