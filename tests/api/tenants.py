"""Keys of tenants, and clients that show them."""

from datetime import UTC, datetime
from pathlib import Path

import httpx

from app.bearer_keys import BearerKey, hashed, new_key
from app.store import SCOPES, NewKey, Scope, open_store
from tests.api.service import Service


def make_key(folder: Path, tenant: str, *scopes: Scope) -> BearerKey:
    """Make a key in the SQLite store of a service, as the command does, with all scopes unless some are named."""
    made = new_key()
    store = open_store(f"sqlite:///{folder}/innerloop.db")
    new = NewKey(made.key_id, tenant, frozenset(scopes or SCOPES), hashed(made.text))
    store.add_key(new, now=datetime.now(UTC))
    store.close()
    return made


def revoke_key(folder: Path, key: BearerKey) -> None:
    """Revoke a key, as the command does."""
    store = open_store(f"sqlite:///{folder}/innerloop.db")
    assert store.revoke_key(key.key_id, now=datetime.now(UTC)) is not None
    store.close()


def bearer(key: BearerKey) -> dict[str, str]:
    """Return the header that shows a key."""
    return {"Authorization": f"Bearer {key.text}"}


def client_of(service: Service, key: BearerKey | None) -> httpx.Client:
    """Return a client that shows a key, or none."""
    return httpx.Client(base_url=service.url, timeout=60.0, headers=bearer(key) if key else {})
