"""Many revisions read in one statement."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from hashlib import sha256
from typing import Any

import pytest
from sqlalchemy import Engine, event

from app.store import ActiveVersion, Head, NewRevision, Revision, Store
from innerloop.errors import ModelNotFound, RevisionNotFound, TaskNotFound

Add = Callable[..., Revision]
MakeRevision = Callable[..., NewRevision]


def key(task_id: str, revision: int | None = None, tenant: str = "default") -> tuple[str, str, int | None]:
    return tenant, task_id, revision


def test_answers_stand_at_the_places_of_their_keys(store: Store, add: Add, now: datetime) -> None:
    first, second, other = add("b", weights=b"1"), add("b", latest=1, weights=b"2"), add("a", weights=b"3")
    keys = [key("b"), key("a", 1), key("b", 1), key("b"), key("b", 2)]
    assert store.latest_revisions(keys, now=now) == [second, other, first, second, second]
    assert [one.revision for one in store.heads(keys, now=now) if isinstance(one, Head)] == [2, 1, 1, 2, 2]
    assert store.weights_of(keys, now=now) == [b"2", b"3", b"1", b"2", b"2"]
    assert store.supports_of(keys, now=now) == [b"support rows"] * 5


@pytest.mark.parametrize("read", ["latest_revisions", "heads", "weights_of", "supports_of"])
def test_what_is_not_there_is_an_error_at_its_place(store: Store, add: Add, now: datetime, read: str) -> None:
    add("a")
    add("expired", ttl_seconds=1)
    add("deleted")
    store.delete_task("default", "deleted", now=now)
    keys = [
        key("a"),
        key("a", 2),
        key("none"),
        key("expired"),
        key("deleted"),
        key("a", tenant="other"),
        key("a", 2**70),
    ]
    found = getattr(store, read)(keys, now=now + timedelta(seconds=1))
    expected = [RevisionNotFound, TaskNotFound, TaskNotFound, TaskNotFound, TaskNotFound, RevisionNotFound]
    assert [type(one) for one in found[1:]] == expected
    assert not isinstance(found[0], Exception)
    assert getattr(store, read)([], now=now) == []


def test_head_tells_what_a_prediction_needs(store: Store, add: Add, now: datetime) -> None:
    add("a", classes=["ä", "\x00", "\ud800"])
    add("b", classes=[-(2**63), 7], weights=None, authority="rows")
    assert store.heads([key("a"), key("b")], now=now) == [
        Head("default", "a", 1, "sinusoid", 1, ["ä", "\x00", "\ud800"], "weights"),
        Head("default", "b", 1, "sinusoid", 1, [-(2**63), 7], "rows"),
    ]


@pytest.mark.parametrize("read", ["latest_revisions", "heads", "weights_of", "supports_of"])
def test_any_number_of_keys_is_one_statement(store: Store, add: Add, now: datetime, read: str) -> None:
    for i in range(5):
        add(f"task-{i}")
    keys = [key(f"task-{i}") for i in range(1000)]
    with statements() as seen:
        found = getattr(store, read)(keys, now=now)
    assert len(seen) == 1
    assert [isinstance(one, Exception) for one in found] == [False] * 5 + [True] * 995


def test_moments_of_other_zones_are_the_same_moments(store: Store, add: Add, now: datetime) -> None:
    elsewhere = now.astimezone(timezone(timedelta(hours=9)))
    add("a", at=elsewhere, ttl_seconds=60)
    last = elsewhere + timedelta(seconds=59)
    assert store.revision("default", "a", now=last).created_at == now
    assert isinstance(store.heads([key("a")], now=elsewhere + timedelta(seconds=60))[0], TaskNotFound)


def test_naive_moments_are_refused(store: Store, add: Add, now: datetime) -> None:
    naive = now.replace(tzinfo=None)
    with pytest.raises(ValueError, match="aware"):
        add("a", at=naive)
    with pytest.raises(ValueError, match="aware"):
        store.heads([key("a")], now=naive)


def test_revision_of_rows_stores_no_weights(store: Store, add: Add, now: datetime) -> None:
    added = add("a", weights=None, authority="rows")
    assert store.revision("default", "a", now=now) == added
    assert (added.authority, added.weights_sha256, added.bytes) == ("rows", None, len(b"support rows"))
    assert added.support_sha256 == sha256(b"support rows").hexdigest()
    assert store.revision_weights("default", "a", now=now) is None
    assert store.weights_of([key("a"), key("b")], now=now)[0] is None
    assert store.revision_support("default", "a", now=now) == b"support rows"
    assert store.task("default", "a", now=now).bytes == len(b"support rows")


def test_weights_are_there_exactly_where_they_are_the_authority(new_revision: MakeRevision) -> None:
    for changes in ({"weights": None}, {"authority": "rows"}):
        with pytest.raises(ValueError, match="exactly"):
            replace(new_revision(), **changes)


def test_active_versions_are_of_the_models_that_are_there(store: Store) -> None:
    store.add_model_version("sinusoid", {}, b"others", activate=True)
    store.add_model_version("gone", {}, b"weights")
    store.delete_model_version("gone", 1)
    store.set_authority("sinusoid", "rows")
    names = ["sinusoid", "gone", "missing", "sinusoid"]
    assert store.active_versions(names) == {"sinusoid": ActiveVersion(2, "rows")}
    assert store.active_versions([]) == {}


def test_authority_of_a_model_is_weights_until_it_is_set(store: Store) -> None:
    assert store.authority("sinusoid") == "weights"
    store.set_authority("sinusoid", "rows")
    assert (store.authority("sinusoid"), store.model("sinusoid").authority) == ("rows", "rows")
    store.add_model_version("sinusoid", {}, b"others", activate=True)
    assert store.authority("sinusoid") == "rows"
    for operation in (store.authority, lambda name: store.set_authority(name, "rows")):
        with pytest.raises(ModelNotFound):
            operation("missing")


def test_model_that_is_made_again_stores_weights_again(store: Store) -> None:
    store.set_authority("sinusoid", "rows")
    store.delete_model_version("sinusoid", 1)
    store.add_model_version("sinusoid", {}, b"weights")
    assert store.authority("sinusoid") == "weights"


@contextmanager
def statements() -> Iterator[list[str]]:
    """Collect the statements that run inside the block."""
    seen: list[str] = []

    def collect(_connection: Any, _cursor: Any, statement: str, *_rest: Any) -> None:
        seen.append(statement)

    event.listen(Engine, "before_cursor_execute", collect)
    try:
        yield seen
    finally:
        event.remove(Engine, "before_cursor_execute", collect)
