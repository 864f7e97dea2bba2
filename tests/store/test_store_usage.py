"""What is stored of a tenant, counted."""

from collections.abc import Callable
from datetime import UTC, datetime

from app.store import NewDataset, NewRevision, Store, Usage

Make = Callable[..., NewRevision]
NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)


def _dataset(tenant: str, data: bytes) -> NewDataset:
    return NewDataset(tenant=tenant, name="numbers", kind="grouped", sha256="hash", spec={}, info={}, data=data)


def test_tasks_and_bytes_of_a_tenant_are_counted(store: Store, new_revision: Make) -> None:
    assert store.usage("acme") == Usage(0, 0)
    sizes = 0
    for task_id, revision in (("one", 0), ("one", 1), ("two", 0)):
        stored = store.add_revision(
            new_revision(task_id, tenant="acme"), expected_latest=revision, keep_revisions=5, now=NOW
        )
        sizes += stored.bytes
    store.add_revision(new_revision("three", tenant="other"), expected_latest=0, keep_revisions=5, now=NOW)
    assert store.usage("acme") == Usage(2, sizes)
    assert store.usage("other").num_tasks == 1


def test_data_sets_and_own_models_count_and_those_of_others_do_not(store: Store) -> None:
    for tenant, num in (("acme", 100), ("acm", 7), ("acme0", 11)):
        store.add_dataset(_dataset(tenant, bytes(num)), now=NOW)
        store.add_model_version(f"{tenant}/mine", {"learner": "maml"}, bytes(10 * num))
    assert [store.usage(tenant) for tenant in ("acme", "acm", "acme0", "acme/mine", "")] == [
        Usage(0, 1100),
        Usage(0, 77),
        Usage(0, 121),
        Usage(0, 0),
        Usage(0, 0),
    ]


def test_what_is_deleted_or_pruned_does_not_count(store: Store, new_revision: Make) -> None:
    for revision in range(4):
        stored = store.add_revision(
            new_revision("one", tenant="acme"), expected_latest=revision, keep_revisions=2, now=NOW
        )
    assert store.usage("acme") == Usage(1, 2 * stored.bytes)
    store.delete_task("acme", "one", now=NOW)
    assert store.usage("acme") == Usage(0, 0)
