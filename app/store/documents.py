"""JSON documents as the database keeps them."""

import json
from typing import Any


def dump_json(value: Any) -> str:
    """Return compact JSON; ValueError on NaN and infinity, which are no JSON and PostgreSQL refuses."""
    return json.dumps(value, allow_nan=False, separators=(",", ":"))


def as_stored(value: Any) -> Any:
    """Return the value as it comes back from the database: tuples as lists, keys as strings."""
    return json.loads(dump_json(value))
