"""Adapt and predict with an innerloop service: `Client`, `AsyncClient`, and the `errors` they raise."""

from innerloop import errors
from innerloop.async_client import AsyncClient
from innerloop.client import Client

__version__ = "0.1.0"

__all__ = ["AsyncClient", "Client", "__version__", "errors"]
