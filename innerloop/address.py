"""Find the address of the service."""

import os

import httpx

from innerloop.errors import Unreachable

DEFAULT_URL = "http://127.0.0.1:8000"
_MAX_PORT = 65_535


def base_url(url: str | None) -> httpx.URL:
    """Return `url`, else the environment's INNERLOOP_URL, else the default; raises `Unreachable` for no address."""
    text = url or os.environ.get("INNERLOOP_URL") or DEFAULT_URL
    try:
        base = httpx.URL(text)
    except httpx.InvalidURL as error:
        raise Unreachable(f"{text!r} is no address: {error}") from error
    if base.scheme not in ("http", "https") or not base.host or (base.port or 0) > _MAX_PORT:
        raise Unreachable(f"{text!r} is no address such as {DEFAULT_URL}")
    return base
