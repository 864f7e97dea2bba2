from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from hashlib import sha256

import pytest

from app.store import Claim, Job, Store
from innerloop.errors import ModelNotFound, VersionNotFound


def test_first_version_of_a_name_is_active(store: Store) -> None:
    version = store.add_model_version("omniglot", {"learner": "protonet"}, b"weights")
    assert (version.name, version.version, version.bytes) == ("omniglot", 1, 7)
    assert version.sha256 == sha256(b"weights").hexdigest()
    assert store.model("omniglot").active_version == 1
    assert store.model_version("omniglot") == version


def test_later_version_is_active_only_when_told(store: Store) -> None:
    assert store.add_model_version("sinusoid", {}, b"second").version == 2
    assert store.model("sinusoid").active_version == 1
    assert store.add_model_version("sinusoid", {}, b"third", activate=True).version == 3
    assert store.model("sinusoid").active_version == 3


def test_equal_version_is_returned_and_not_added(store: Store) -> None:
    first = store.add_model_version("sinusoid", {"shape": (1, 2), "rate": 0.1}, b"weights")
    again = store.add_model_version("sinusoid", {"rate": 0.1, "shape": [1, 2]}, b"weights")
    assert again == first
    assert [version.version for version in store.model("sinusoid").versions] == [1, 2]


def test_equal_version_becomes_active_when_told(store: Store) -> None:
    second = store.add_model_version("sinusoid", {}, b"second")
    assert store.add_model_version("sinusoid", {}, b"second", activate=True) == second
    assert store.model("sinusoid").active_version == 2


@pytest.mark.parametrize(("card", "weights"), [({"learner": "maml"}, b"other"), ({}, b"initial weights")])
def test_other_card_or_other_weights_are_another_version(store: Store, card: dict[str, str], weights: bytes) -> None:
    assert store.add_model_version("sinusoid", card, weights).version == 2


def test_replicas_that_start_at_once_add_a_shipped_model_once(store: Store) -> None:
    with ThreadPoolExecutor(16) as pool:
        found = list(pool.map(lambda _: store.add_model_version("shipped", {"a": 1}, b"weights"), range(16)))
    assert {version.version for version in found} == {1}
    assert len(store.model("shipped").versions) == 1


def test_versions_added_at_once_get_numbers_of_their_own(store: Store) -> None:
    with ThreadPoolExecutor(16) as pool:
        found = pool.map(lambda i: store.add_model_version("new", {}, b"weights %d" % i).version, range(16))
        assert sorted(found) == list(range(1, 17))


def test_promote_moves_the_active_version_both_ways(store: Store) -> None:
    store.add_model_version("sinusoid", {"learner": "reptile"}, b"second")
    assert store.promote("sinusoid", 2).active_version == 2
    assert store.model_version("sinusoid").card == {"learner": "reptile"}
    assert store.promote("sinusoid", 1).active_version == 1


def test_weights_come_back_to_the_byte(store: Store) -> None:
    weights = bytes(range(256)) * 1000
    store.add_model_version("sinusoid", {}, weights)
    assert store.model_weights("sinusoid", 2) == weights
    assert store.model_weights("sinusoid") == b"initial weights"


def test_models_come_in_pages_by_name(store: Store) -> None:
    for name in ["b", "B", "_", "a"]:
        store.add_model_version(name, {}, b"weights")
    first, cursor = store.models(limit=3)
    rest, end = store.models(after=cursor, limit=3)
    assert [model.name for model in first + rest] == ["B", "_", "a", "b", "sinusoid"]
    assert end is None
    assert [len(model.versions) for model in first] == [1, 1, 1]


def test_missing_model_is_not_found(store: Store) -> None:
    with pytest.raises(ModelNotFound):
        store.model("missing")
    with pytest.raises(ModelNotFound):
        store.model_version("missing")
    with pytest.raises(ModelNotFound):
        store.model_weights("missing", 1)
    with pytest.raises(ModelNotFound):
        store.promote("missing", 1)


@pytest.mark.parametrize("version", [2, 0, -1, 2**31, 2**70])
def test_missing_version_is_not_found(store: Store, version: int) -> None:
    with pytest.raises(VersionNotFound):
        store.model_version("sinusoid", version)
    with pytest.raises(VersionNotFound):
        store.model_weights("sinusoid", version)
    with pytest.raises(VersionNotFound):
        store.promote("sinusoid", version)
    assert store.model("sinusoid").active_version == 1


def test_a_list_holds_the_shared_models_and_those_of_one_prefix_in_whose_place_they_stand(store: Store) -> None:
    names = ["acme/sinusoid", "acme/Zz", "acme/a", "other/a", "other/b", "b", "A", "acm/e", "acme-2/a", "ACME/q"]
    for name in names:
        store.add_model_version(name, {}, name.encode())
    store.add_model_version("acme/gone", {}, b"weights")
    store.delete_model_version("acme/gone", 1)
    store.add_model_version("gone", {}, b"weights")
    seen = ["A", "acme/Zz", "acme/a", "b", "gone", "acme/sinusoid"]
    assert [model.name for model in store.models(own_prefix="acme/")[0]] == seen
    assert [model.name for model in store.models()[0]] == ["A", "b", "gone", "sinusoid"]
    assert [model.name for model in store.models(own_prefix="nobody/")[0]] == ["A", "b", "gone", "sinusoid"]
    for limit in (1, 2, 5):
        found: list[str] = []
        cursor: str | None = None
        while True:
            page, cursor = store.models(own_prefix="acme/", after=cursor, limit=limit)
            found += [model.name for model in page]
            if cursor is None:
                break
        assert found == seen


def test_a_model_that_has_no_active_version_is_there_all_the_same(
    store: Store, add_job: Callable[..., Job], claim: Callable[..., Claim], now: datetime
) -> None:
    add_job(name="acme/trained")
    store.complete_job(claim(), "acme/trained", {}, b"weights", promote=False, expected_active=None, now=now)
    assert store.active_versions(["acme/trained", "trained"]) == {"acme/trained": None}
