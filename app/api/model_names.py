"""The names of models, as callers say them and as they are stored: a tenant's own model `m` is stored as `tenant/m`.

Those of the tenant `default` are stored under their very names, and shared with all. A tenant's own model takes the
place of the shared one of the same name, for that tenant. No name holds a `/`, so that nobody can say a stored one.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

from app.api.context import DEFAULT_TENANT
from app.store import Store
from innerloop.errors import ModelNotFound, SharedModel, VersionInUse, VersionNotFound


class Wanted(NamedTuple):
    """A model that is asked for: the first of these stored names that is there, and a version, None for the active."""

    names: tuple[str, ...]
    version: int | None


def own_name(tenant: str, name: str) -> str:
    """Return the stored name of a tenant's own model."""
    return name if tenant == DEFAULT_TENANT else f"{tenant}/{name}"


def own_prefix(tenant: str) -> str:
    """Return what the stored names of a tenant's own models begin with."""
    return own_name(tenant, "")


def public_name(stored: str) -> str:
    """Return the name that callers know a stored model by."""
    return stored.rpartition("/")[2]


def stored_names(tenant: str, name: str) -> tuple[str, ...]:
    """Return the stored names that a name may mean to a tenant, the tenant's own first."""
    return tuple(dict.fromkeys((own_name(tenant, name), name)))


def wanted(tenant: str, reference: str) -> Wanted:
    """Return what `name` or `name@version` means to a tenant."""
    name, _, version = reference.partition("@")
    return Wanted(stored_names(tenant, name), int(version) if version else None)


def found(store: Store, tenant: str, name: str) -> str:
    """Return the stored name of the model that a name means to a tenant, the shared one's if none is there; blocks."""
    names = stored_names(tenant, name)
    if len(names) == 1:
        return name
    there = store.active_versions(names)
    return next((known for known in names if known in there), name)


def found_own(store: Store, tenant: str, name: str) -> str:
    """Return the stored name of a model that a tenant may change; ModelNotFound, SharedModel. Blocks."""
    stored = found(store, tenant, name)
    if stored != own_name(tenant, name):
        store.authority(stored)  # tells whether it is there at all
        raise SharedModel(f"{name} is shared with all tenants; only keys of the tenant {DEFAULT_TENANT} change it")
    return stored


@contextmanager
def told_by_public_name(stored: str) -> Iterator[None]:
    """Let what the store says of a model name it as its caller does."""
    try:
        yield
    except (ModelNotFound, VersionNotFound, VersionInUse) as error:
        if stored == public_name(stored):
            raise
        raise type(error)(error.detail.replace(stored, public_name(stored))) from error
