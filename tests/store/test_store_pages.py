import base64

import pytest

from app.store import Store
from app.store.pages import key_after, number_after, page_of
from innerloop.errors import InvalidRequest


def test_last_page_has_no_cursor() -> None:
    assert page_of([1, 2], 2, "tasks", str) == ([1, 2], None)


def test_cursor_leads_to_the_last_row_of_its_page() -> None:
    rows, cursor = page_of(["a", "b", "c"], 2, "tasks", str)
    assert (rows, key_after("tasks", cursor)) == (["a", "b"], "b")
    _, cursor = page_of([9, 8], 1, "revisions", int)
    assert number_after("revisions", cursor) == 9


BAD = ["", "b", "tasks:b", "ü", "####", base64.b64encode(b"\xff:a").decode()]
FORGED = ["tasks", "models:a", "tasks:", "tasks:a\x00", "tasks:a/b", "tasks:" + "a" * 65]


@pytest.mark.parametrize("cursor", BAD + [base64.b64encode(text.encode()).decode() for text in FORGED])
def test_cursor_of_something_else_is_refused(cursor: str) -> None:
    with pytest.raises(InvalidRequest, match="next"):
        key_after("tasks", cursor)


def test_cursor_without_a_number_is_refused() -> None:
    with pytest.raises(InvalidRequest):
        number_after("revisions", base64.b64encode(b"revisions:a").decode())


@pytest.mark.parametrize("limit", [0, -1, 501])
def test_limit_is_1_to_500(store: Store, limit: int) -> None:
    with pytest.raises(InvalidRequest, match=f"expected 1 to 500, got {limit}"):
        store.models(limit=limit)
