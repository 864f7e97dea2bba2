"""Keys as callers hold them: `il_<key id>_<secret>`, of which the store has a hash alone."""

import re
import secrets
from hashlib import sha256
from typing import NamedTuple

SECRET_BYTES = 32
_KEY = re.compile(r"il_[0-9a-f]{12}_[A-Za-z0-9_-]{43}", re.ASCII)
_LIKE_A_KEY = re.compile(r"il_([0-9a-f]{12})_[A-Za-z0-9_-]+", re.ASCII)
"""A part of a key tells of its secret too."""


class BearerKey(NamedTuple):
    """A new key, and the id that it is listed and revoked by."""

    key_id: str
    text: str


def new_key() -> BearerKey:
    """Return a key that nobody has: 256 random bits, so that a plain hash of it can be neither guessed nor turned."""
    key_id = secrets.token_hex(6)
    return BearerKey(key_id, f"il_{key_id}_{secrets.token_urlsafe(SECRET_BYTES)}")


def is_key(text: str) -> bool:
    """Tell whether a text has the form of a key."""
    return _KEY.fullmatch(text) is not None


def key_id_in(text: str) -> str:
    """Return the key id of a whole key, and any other text, which may be a key id, as it is."""
    found = _LIKE_A_KEY.fullmatch(text)
    return found.group(1) if found else text


def masked(text: str) -> str:
    """Return a text without the secrets of keys in it: somebody may take a key for a part of a path, or for an id."""
    return _LIKE_A_KEY.sub(r"il_\1_...", text) if "il_" in text else text


def holds_key(text: str) -> bool:
    """Tell whether something in a text looks like a key, or like the beginning of one."""
    return "il_" in text and _LIKE_A_KEY.search(text) is not None


def hashed(key: str) -> str:
    """Return the hash that the store knows a key by."""
    return sha256(key.encode()).hexdigest()
