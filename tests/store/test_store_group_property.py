"""Any sequence of groups leaves the rows that its additions leave one by one."""

from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from itertools import count
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import Engine

from app.store import KEEP, Addition, Head, NewAnswer, NewRevision, Revision, Store
from app.store.engine import make_engine
from app.store.tables import Base

MakeRevision = Callable[..., NewRevision]

# What an addition asks for: a task, the latest revision (None: the one that it has), a time to live, a key, weights
# and a model version, of which 2 does not exist.
ADDITIONS = st.tuples(
    st.sampled_from(["a", "b", "c"]),
    st.sampled_from([None, None, None, 0, 1]),
    st.sampled_from([KEEP, KEEP, None, 0, 2, 100]),
    st.sampled_from([None, None, "key-1", "key-2", "key-3"]),
    st.sampled_from([b"weights", b"", None]),
    st.sampled_from([1] * 15 + [2]),
)
GROUPS = st.tuples(
    st.integers(0, 3), st.integers(1, 3), st.lists(ADDITIONS, max_size=8)
)  # seconds later, revisions kept
TENANTS = count()


@pytest.fixture
def engine(url: str) -> Iterator[Engine]:
    engine = make_engine(url, synchronous="NORMAL", wait_ms=5_000, num_connections=1)
    yield engine
    engine.dispose()


@given(groups=st.lists(GROUPS, max_size=5))
@settings(
    max_examples=150,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],  # each example has tenants of its own
)
def test_groups_leave_what_their_additions_leave_one_by_one(
    store: Store, engine: Engine, new_revision: MakeRevision, now: datetime, groups: list[Any]
) -> None:
    alone, together, moment = f"alone-{next(TENANTS)}", f"together-{next(TENANTS)}", now
    for seconds_later, keep, asked in groups:
        moment += timedelta(seconds=seconds_later)
        expected, group = [], []
        for one in asked:
            addition = as_addition(store, new_revision, alone, moment, one)
            expected += store.add_revisions([addition], keep_revisions=keep, now=moment)
            group.append(of_tenant(addition, together))
        results = store.add_revisions(group, keep_revisions=keep, now=moment)
        assert [told(one) for one in results] == [told(one) for one in expected]
        assert rows(engine, together) == rows(engine, alone)


def as_addition(store: Store, new_revision: MakeRevision, tenant: str, now: datetime, asked: Any) -> Addition:
    task_id, latest, ttl_seconds, key, weights, version = asked
    authority = "rows" if weights is None else "weights"
    new = new_revision(task_id, tenant=tenant, weights=weights, authority=authority, model_version=version)
    head = store.heads([(tenant, task_id, None)], now=now)[0]
    there = head.revision if isinstance(head, Head) else 0

    def numbered(made: Revision) -> dict[str, int]:
        return {"number": made.revision}

    answer = None if key is None else NewAnswer("/adapt", key, "", 201, numbered)
    return Addition(new, there if latest is None else latest, ttl_seconds, answer)


def of_tenant(addition: Addition, tenant: str) -> Addition:
    new = addition.new
    fields = {name: getattr(new, name) for name in NewRevision.__slots__} | {"tenant": tenant}
    return addition._replace(new=NewRevision(**fields))


def told(result: Revision | Exception) -> Any:
    """Return all that a result tells but its tenant."""
    if isinstance(result, Exception):
        return type(result), str(result)
    return [getattr(result, name) for name in Revision.__slots__ if name != "tenant"]


def rows(engine: Engine, tenant: str) -> dict[str, list[tuple[Any, ...]]]:
    """Return what is stored for a tenant, by table, without its name."""
    found = {}
    with engine.connect() as connection:
        for name in ("tasks", "revisions", "idempotent_answers"):
            table = Base.metadata.tables[name]
            query = table.select().where(table.c.tenant == tenant).order_by(*table.primary_key)
            found[name] = [tuple(row)[1:] for row in connection.execute(query)]
    return found
