"""Records of keys: what the store takes and gives back of them."""

from dataclasses import dataclass
from datetime import datetime
from typing import Literal, NamedTuple, TypeAlias, get_args

Scope: TypeAlias = Literal["use", "train", "admin"]
SCOPES: tuple[Scope, ...] = get_args(Scope)


@dataclass(frozen=True, slots=True)
class NewKey:
    """Hold what is stored of a new key: never the key itself, whose sha256 says whether a caller has it."""

    key_id: str
    tenant: str
    scopes: frozenset[Scope]
    sha256: str
    name: str | None = None


@dataclass(frozen=True, slots=True)
class KeyRecord:
    """Describe a key; one that is revoked stays in the list."""

    key_id: str
    tenant: str
    name: str | None
    scopes: frozenset[Scope]
    created_at: datetime
    revoked_at: datetime | None


class Identity(NamedTuple):
    """Say who asks, and what they may do; no key is needed, and `key_id` is None, while none is configured."""

    tenant: str
    key_id: str | None
    scopes: frozenset[Scope]
