from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from pathlib import Path

import pytest

from app.store import Claim, Job, Revision, Store
from innerloop.errors import ModelNotFound, VersionInUse, VersionNotFound

Add = Callable[..., Revision]


def test_deleted_version_is_not_there(store: Store) -> None:
    store.add_model_version("sinusoid", {}, b"second")
    store.delete_model_version("sinusoid", 2)
    assert [version.version for version in store.model("sinusoid").versions] == [1]
    for operation in (store.model_version, store.model_weights, store.promote, store.delete_model_version):
        with pytest.raises(VersionNotFound):
            operation("sinusoid", 2)


def test_version_number_is_never_given_again(store: Store) -> None:
    store.add_model_version("sinusoid", {}, b"second")
    store.delete_model_version("sinusoid", 2)
    assert store.add_model_version("sinusoid", {}, b"third").version == 3
    store.delete_model_version("sinusoid", 3)
    assert store.add_model_version("sinusoid", {}, b"third").version == 4


def test_model_goes_with_its_last_version_and_its_numbers_go_on(store: Store) -> None:
    store.delete_model_version("sinusoid", 1)
    assert store.models() == ([], None)
    for operation in (store.model, store.model_version, store.model_weights):
        with pytest.raises(ModelNotFound):
            operation("sinusoid")
    for change in (store.promote, store.delete_model_version, store.model_version):
        with pytest.raises(ModelNotFound):
            change("sinusoid", 1)
    assert store.add_model_version("sinusoid", {"learner": "maml"}, b"initial weights").version == 2
    assert store.model("sinusoid").active_version == 2
    assert [model.name for model in store.models()[0]] == ["sinusoid"]


def test_model_that_is_gone_takes_no_place_on_a_page(store: Store) -> None:
    for name in ("a", "b", "c"):
        store.add_model_version(name, {}, b"weights")
    store.delete_model_version("b", 1)
    page, cursor = store.models(limit=2)
    assert [model.name for model in page] == ["a", "c"]
    assert [model.name for model in store.models(after=cursor, limit=2)[0]] == ["sinusoid"]


def test_active_version_stays_while_there_are_others(store: Store) -> None:
    store.add_model_version("sinusoid", {}, b"second")
    with pytest.raises(VersionInUse, match="promote another"):
        store.delete_model_version("sinusoid", 1)
    store.promote("sinusoid", 2)
    store.delete_model_version("sinusoid", 1)
    assert store.model("sinusoid").active_version == 2


def test_version_of_a_revision_stays_until_its_task_is_deleted(store: Store, add: Add, now: datetime) -> None:
    store.add_model_version("sinusoid", {}, b"second")
    add(model_version=2)
    add(latest=1, model_version=1)
    with pytest.raises(VersionInUse, match="sinusoid@2"):
        store.delete_model_version("sinusoid", 2)
    assert store.model_weights("sinusoid", 2) == b"second"
    store.delete_task("default", "patient-17", now=now)
    store.delete_model_version("sinusoid", 2)


def test_job_does_not_keep_its_version(
    store: Store, add_job: Callable[..., Job], claim: Callable[..., Claim], now: datetime
) -> None:
    add_job()
    store.complete_job(claim(), "trained", {}, b"w", promote=False, expected_active=None, now=now)
    store.delete_model_version("trained", 1)
    assert store.job("default", "job-1").model_version == 1


@pytest.mark.parametrize("version", [2, 0, -1, 2**31, 2**70])
def test_missing_version_is_not_deleted(store: Store, version: int) -> None:
    with pytest.raises(VersionNotFound):
        store.delete_model_version("sinusoid", version)
    with pytest.raises(ModelNotFound):
        store.delete_model_version("missing", version)


def test_version_is_deleted_or_used_and_never_both(store: Store, add: Add) -> None:
    for i in range(10):
        store.add_model_version("sinusoid", {}, b"weights %d" % i)

    def use(i: int) -> bool:
        try:
            add(f"task-{i}", model_version=i)
        except VersionNotFound:
            return False
        return True

    def delete(i: int) -> bool:
        try:
            store.delete_model_version("sinusoid", i)
        except VersionInUse:
            return False
        return True

    with ThreadPoolExecutor(8) as pool:
        used = [pool.submit(use, i) for i in range(2, 12)]
        deleted = [pool.submit(delete, i) for i in range(2, 12)]
        for one, other in zip(used, deleted, strict=True):
            assert one.result() != other.result()


def test_numbers_only_grow_while_versions_come_and_go(store: Store) -> None:
    def come_and_go(i: int) -> list[int]:
        numbers = []
        for j in range(5):
            number = store.add_model_version("sinusoid", {}, b"weights %d %d" % (i, j)).version
            store.delete_model_version("sinusoid", number)
            numbers.append(number)
        return numbers

    with ThreadPoolExecutor(8) as pool:
        numbers = [number for of_thread in pool.map(come_and_go, range(8)) for number in of_thread]
    assert sorted(numbers) == list(range(2, 42))


@pytest.mark.parametrize("url", ["sqlite"], indirect=True)
def test_deleted_weights_are_in_no_file(store: Store, tmp_path: Path) -> None:
    secret = b"weights that are nowhere else " * 1000
    store.add_model_version("secret", {}, secret)
    assert any(secret[:100] in file.read_bytes() for file in tmp_path.iterdir() if file.is_file())
    store.delete_model_version("secret", 1)
    assert not any(secret[:100] in file.read_bytes() for file in tmp_path.iterdir() if file.is_file())
