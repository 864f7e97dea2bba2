"""Define the root of the tree and its two halves."""
# ruff: noqa: D101 -- title and remedy say what a docstring would

from collections.abc import Sequence
from typing import ClassVar, TypedDict


class FieldError(TypedDict):
    """Name one wrong field: where it is in the request, and what is wrong with it."""

    loc: list[str | int]
    msg: str


class InnerloopError(Exception):
    """Be the root of every error that innerloop raises.

    `detail` says what was expected, what came and what to do; `errors` names the wrong fields; `request_id`
    is set by the client on what the service answered.
    """

    code: ClassVar[str]
    title: ClassVar[str]
    remedy: ClassVar[str]

    def __init__(
        self, detail: str, *, errors: Sequence[FieldError] = (), retry_after_seconds: float | None = None
    ) -> None:
        super().__init__(detail)
        self.detail = detail
        self.errors = list(errors)
        self.retry_after_seconds = retry_after_seconds
        self.request_id: str | None = None


class ServiceError(InnerloopError):
    title = "The service refused the request"
    remedy = "This code is unknown here. Update the client, or read GET /problems/{code} of the service."


class ClientError(InnerloopError):
    pass
