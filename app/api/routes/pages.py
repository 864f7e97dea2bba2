"""Parameters and pages that every list of the API has in common."""

from collections.abc import Callable, Sequence
from typing import Annotated, TypeVar

from fastapi import Path, Query

from innerloop.wire import Page

ID_PATTERN = r"^[A-Za-z0-9_-]{1,64}$"

TaskId = Annotated[str, Path(pattern=ID_PATTERN)]
Name = Annotated[str, Path(pattern=ID_PATTERN)]
After = Annotated[str | None, Query(max_length=512, description="`next` of the page before")]
Limit = Annotated[int, Query(ge=1, le=500)]

Record = TypeVar("Record")
Item = TypeVar("Item")


def page(found: tuple[Sequence[Record], str | None], shown: Callable[[Record], Item]) -> Page[Item]:
    """Return a page of the store as the wire shows it."""
    records, cursor = found
    return Page(data=[shown(record) for record in records], has_more=cursor is not None, next=cursor)
