from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import replace
from datetime import datetime, timedelta
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from app.store import Claim, DatasetRecord, Job, NewAnswer, NewDataset, Store
from innerloop.errors import DatasetExists, DatasetInUse, DatasetNotFound

AddDataset = Callable[..., DatasetRecord]
AddJob = Callable[..., Job]
DATA = b"rows" * 100
NEW = NewDataset(
    "default", "voices", "grouped", sha256(DATA).hexdigest(), {"group": "subject", "seed": 0}, {"rows": 3}, DATA
)


def test_dataset_comes_back_as_it_was_added(store: Store, now: datetime) -> None:
    added, made = store.add_dataset(NEW, now=now)
    assert made
    assert added == DatasetRecord("default", "voices", now, "grouped", NEW.sha256, 400, NEW.spec, NEW.info)
    assert store.dataset("default", "voices") == added
    assert store.dataset_bytes("default", "voices") == DATA


def test_equal_dataset_is_found_and_not_made(store: Store, now: datetime) -> None:
    added, _ = store.add_dataset(NEW, now=now)
    again = replace(NEW, spec={"seed": 0, "group": "subject"})
    assert store.add_dataset(again, now=now + timedelta(seconds=1)) == (added, False)


@pytest.mark.parametrize("changes", [{"data": b"others", "sha256": "other"}, {"spec": {"group": "subject", "seed": 1}}])
def test_name_of_another_dataset_is_refused(store: Store, now: datetime, changes: dict[str, Any]) -> None:
    added, _ = store.add_dataset(NEW, now=now)
    with pytest.raises(DatasetExists, match="voices"):
        store.add_dataset(replace(NEW, **changes), now=now)
    assert store.dataset("default", "voices") == added
    assert store.dataset_bytes("default", "voices") == DATA


def test_dataset_belongs_to_its_tenant(store: Store, add_dataset: AddDataset) -> None:
    add_dataset(tenant="a", data=b"of a")
    assert store.datasets("b") == ([], None)
    for operation in (store.dataset, store.dataset_bytes, store.delete_dataset):
        with pytest.raises(DatasetNotFound):
            operation("b", "voices")
    add_dataset(tenant="b", data=b"of b")
    assert (store.dataset_bytes("a", "voices"), store.dataset_bytes("b", "voices")) == (b"of a", b"of b")


def test_datasets_come_in_pages_by_name(store: Store, add_dataset: AddDataset) -> None:
    for name in ["b", "B", "_", "a"]:
        add_dataset(name)
    first, cursor = store.datasets("default", limit=3)
    rest, end = store.datasets("default", after=cursor, limit=3)
    assert [dataset.name for dataset in first + rest] == ["B", "_", "a", "b"]
    assert end is None


def test_deleted_dataset_is_not_there_and_its_name_is_free(store: Store, add_dataset: AddDataset) -> None:
    add_dataset()
    store.delete_dataset("default", "voices")
    for operation in (store.dataset, store.dataset_bytes, store.delete_dataset):
        with pytest.raises(DatasetNotFound):
            operation("default", "voices")
    assert add_dataset(data=b"others").bytes == 6


def test_dataset_is_kept_while_a_job_needs_it(
    store: Store, add_dataset: AddDataset, add_job: AddJob, claim: Callable[..., Claim], now: datetime
) -> None:
    add_dataset()
    add_dataset(tenant="other")
    add_job(dataset="voices")
    store.delete_dataset("other", "voices")
    with pytest.raises(DatasetInUse, match="job-1"):
        store.delete_dataset("default", "voices")
    held = claim()
    with pytest.raises(DatasetInUse, match="job-1"):
        store.delete_dataset("default", "voices")
    store.end_job(held, "failed", {"code": "training-diverged"}, now=now)
    store.delete_dataset("default", "voices")
    assert store.job("default", "job-1").dataset == "voices"


@pytest.mark.parametrize("url", ["sqlite"], indirect=True)
def test_deleted_bytes_are_in_no_file(store: Store, add_dataset: AddDataset, tmp_path: Path) -> None:
    secret = b"a row that is nowhere else " * 1000
    add_dataset(data=secret)
    assert any(secret[:100] in file.read_bytes() for file in tmp_path.iterdir() if file.is_file())
    store.delete_dataset("default", "voices")
    assert not any(secret[:100] in file.read_bytes() for file in tmp_path.iterdir() if file.is_file())


def test_eight_at_once_add_a_dataset_once(store: Store, now: datetime) -> None:
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda _: store.add_dataset(NEW, now=now), range(8)))
    assert sorted(made for _, made in found) == [False] * 7 + [True]
    assert len({dataset.sha256 for dataset, _ in found}) == 1


def test_delete_waits_for_a_job_that_is_being_added(store: Store, add_dataset: AddDataset, add_job: AddJob) -> None:
    add_dataset()
    with ThreadPoolExecutor(1) as pool:
        deletes: list[Future[None]] = []

        def delete_in_the_middle(_job: Job) -> dict[str, object]:
            deletes.append(pool.submit(store.delete_dataset, "default", "voices"))
            assert not wait(deletes, timeout=0.3).done
            return {}

        add_job(dataset="voices", idempotent=NewAnswer("/meta-train", "key", "hash", 202, delete_in_the_middle))
        with pytest.raises(DatasetInUse):
            deletes[0].result()
    assert store.dataset("default", "voices").bytes == 14


def test_dataset_is_never_deleted_under_a_job_that_is_added(
    store: Store, add_dataset: AddDataset, add_job: AddJob, now: datetime
) -> None:
    def add(i: int) -> bool:
        try:
            add_job(f"job-{i}", dataset=f"set-{i}")
        except DatasetNotFound:
            return False
        return True

    def delete(i: int) -> bool:
        try:
            store.delete_dataset("default", f"set-{i}")
        except DatasetInUse:
            return False
        return True

    def resume(i: int) -> bool:
        try:
            store.resume_job("default", f"job-{i}", now=now)
        except DatasetNotFound:
            return False
        return True

    for i in range(20):
        add_dataset(f"set-{i}")
        if i % 2:
            add_job(f"job-{i}", dataset=f"set-{i}")
            store.request_cancel("default", f"job-{i}", now=now)
    with ThreadPoolExecutor(8) as pool:
        used = [pool.submit(resume if i % 2 else add, i) for i in range(20)]
        deleted = [pool.submit(delete, i) for i in range(20)]
        for one, other in zip(used, deleted, strict=True):
            assert one.result() != other.result()
