"""Adapt and predict with an innerloop service: `Client`, `AsyncClient`, and the `errors` they raise."""

from innerloop import errors
from innerloop.client import AsyncClient, Client

__all__ = ["AsyncClient", "Client", "errors"]
