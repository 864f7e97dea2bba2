"""Find the address of the service, and the key that it wants."""

import os

import httpx

from innerloop.errors import Unauthorized, Unreachable

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


def key_headers(api_key: str | None) -> dict[str, str]:
    """Return the header that shows `api_key`, else the environment's INNERLOOP_API_KEY; none where there is neither.

    Raises `Unauthorized` for what can be no key.
    """
    key = (api_key or os.environ.get("INNERLOOP_API_KEY") or "").strip()
    if not (key.isascii() and key.isprintable()) or " " in key:
        raise Unauthorized("the key holds characters that no key has; it is not shown here")
    return {"Authorization": f"Bearer {key}"} if key else {}
