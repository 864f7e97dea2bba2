"""What is stored of a tenant, counted."""

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import text

from app.store import (
    Claim,
    Classes,
    IdempotentAnswer,
    Job,
    NewAnswer,
    NewDataset,
    NewRevision,
    Revision,
    Store,
    Usage,
    document_bytes,
)
from app.store.engine import make_engine

Make = Callable[..., NewRevision]
NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)
CARD = {"learner": "maml", "provenance": {"by": "\N{GRINNING FACE}" * 1000}}
NAMES = ["\N{GRINNING FACE}" * 250, "a"]


def _dataset(tenant: str, data: bytes) -> NewDataset:
    return NewDataset(tenant=tenant, name="numbers", kind="grouped", sha256="hash", spec={}, info={}, data=data)


def _add(
    store: Store,
    new: NewRevision,
    latest: int = 0,
    keep: int = 5,
    idempotent: NewAnswer[Revision] | None = None,
) -> int:
    """Add a revision, and return how many bytes are stored of it."""
    stored = store.add_revision(new, expected_latest=latest, keep_revisions=keep, now=NOW, idempotent=idempotent)
    documents = [new.settings, new.answer, *([] if new.classes is None else [new.classes])]
    return stored.bytes + sum(map(document_bytes, documents))


def _named(key: str, answer: Any) -> NewAnswer[Revision]:
    return NewAnswer("POST /adapt", key, "hash", 201, lambda made: answer)


def test_tasks_and_bytes_of_a_tenant_are_counted(store: Store, new_revision: Make) -> None:
    assert store.usage("acme") == Usage(0, 0)
    sizes = 0
    for task_id, revision in (("one", 0), ("one", 1), ("two", 0)):
        sizes += _add(store, new_revision(task_id, tenant="acme"), revision)
    _add(store, new_revision("three", tenant="other"))
    assert store.usage("acme") == Usage(2, sizes)
    assert store.usage("other").num_tasks == 1


@pytest.mark.parametrize("classes", [None, NAMES])
def test_classes_and_what_was_answered_count_as_they_are_stored(
    store: Store, new_revision: Make, classes: Classes | None
) -> None:
    answer = {"support_loss": [0.25] * 101}
    size = _add(store, new_revision("one", tenant="acme", classes=classes, answer=answer))
    assert store.usage("acme") == Usage(1, size)
    assert size > len(json.dumps([classes, answer])) - 300


def test_data_sets_and_own_models_count_and_those_of_others_do_not(store: Store) -> None:
    for tenant, num in (("acme", 100), ("acm", 7), ("acme0", 11)):
        store.add_dataset(_dataset(tenant, bytes(num)), now=NOW)
        store.add_model_version(f"{tenant}/mine", CARD, bytes(10 * num))
    card = len(json.dumps(CARD, separators=(",", ":")))
    assert card > 12_000  # as they are stored, in ASCII
    assert [store.usage(tenant) for tenant in ("acme", "acm", "acme0", "acme/mine", "")] == [
        Usage(0, 1100 + card),
        Usage(0, 77 + card),
        Usage(0, 121 + card),
        Usage(0, 0),
        Usage(0, 0),
    ]


def test_idempotent_answers_count_until_they_go(store: Store, new_revision: Make) -> None:
    answer = {"classes": NAMES}
    size = _add(store, new_revision("one", tenant="acme"), idempotent=_named("first", answer))
    size += document_bytes(answer)
    assert store.usage("acme") == Usage(1, size)
    again = IdempotentAnswer("acme", "POST /adapt", "second", "hash", 200, answer, "one", NOW)
    store.add_idempotent_answer(again, latest=1)
    of_a_job = IdempotentAnswer("acme", "POST /meta-train", "third", "hash", 202, {"job_id": "x"}, None, NOW)
    store.add_idempotent_answer(of_a_job)
    size += document_bytes(answer) + document_bytes({"job_id": "x"})
    assert store.usage("acme") == Usage(1, size)
    assert store.usage("other") == Usage(0, 0)
    store.delete_task("acme", "one", now=NOW)
    assert store.usage("acme") == Usage(0, document_bytes({"job_id": "x"}))
    store.purge_answers(before=NOW + timedelta(seconds=1))
    assert store.usage("acme") == Usage(0, 0)


def test_checkpoints_count_until_they_go(
    store: Store, add_job: Callable[..., Job], claim: Callable[..., Claim], now: datetime
) -> None:
    for i, tenant in enumerate(("acme", "acme", "other")):
        add_job(f"job-{i}", tenant=tenant)
    for i in range(3):
        held = claim()
        store.save_checkpoint(held, 1, bytes(1000), now=now)
        store.save_checkpoint(held, 2, bytes(1000 * (i + 2)), now=now)
        store.end_job(held, "cancelled", None, now=now)
    sizes = [store.checkpoint(tenant, f"job-{i}").bytes for i, tenant in enumerate(("acme", "acme", "other"))]
    assert store.usage("acme") == Usage(0, sizes[0] + sizes[1])
    assert store.usage("other") == Usage(0, sizes[2])
    store.purge_jobs(before=now + timedelta(seconds=1))
    assert store.usage("acme") == Usage(0, 0)


def test_what_is_deleted_or_pruned_does_not_count(store: Store, new_revision: Make) -> None:
    for revision in range(4):
        size = _add(
            store, new_revision("one", tenant="acme"), revision, keep=2, idempotent=_named(f"key-{revision}", {"a": 1})
        )
    assert store.usage("acme") == Usage(1, 2 * size + 4 * document_bytes({"a": 1}))
    store.delete_task("acme", "one", now=NOW)
    assert store.usage("acme") == Usage(0, 0)


@pytest.mark.parametrize("url", ["sqlite"], indirect=True)
def test_sizes_are_read_off_indexes(store: Store, url: str) -> None:
    engine = make_engine(url, synchronous="NORMAL", wait_ms=1000, num_connections=1)
    with engine.connect() as connection:
        for table, column, sizes in (
            ("revisions", "tenant", "bytes + document_bytes"),
            ("idempotent_answers", "tenant", "bytes"),
            ("model_versions", "name", "bytes + card_bytes"),
        ):
            query = f"EXPLAIN QUERY PLAN SELECT sum({sizes}) FROM {table} WHERE {column} = 'acme'"
            (step,) = connection.execute(text(query)).all()
            assert f"USING COVERING INDEX ix_{table}_usage" in step[-1]
    engine.dispose()
