"""Keys in the store: found by their hash, revoked for good, and listed."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy.exc import SQLAlchemyError
from structlog.testing import capture_logs

from app.store import SCOPES, Identity, KeyRecord, NewKey, Scope, Store
from innerloop.errors import InnerloopError, InternalError

AddKey = Callable[..., KeyRecord]


@pytest.fixture
def add_key(store: Store, now: datetime) -> AddKey:
    def add(key_id: str, tenant: str = "acme", *scopes: Scope, at: datetime = now) -> KeyRecord:
        new = NewKey(key_id, tenant, frozenset(scopes or SCOPES), sha256=f"hash of {key_id}", name="a name")
        return store.add_key(new, now=at)

    return add


def test_a_key_is_found_by_its_hash_alone(store: Store, add_key: AddKey) -> None:
    add_key("one", "acme", "use", "train")
    add_key("two", "other", "admin")
    asked = ["hash of two", "hash of nobody", "", "hash of one", "HASH OF ONE", "hash of one", "one"]
    one = Identity("acme", "one", frozenset(("use", "train")))
    two = Identity("other", "two", frozenset(("admin",)))
    assert store.identities(asked) == [two, None, None, one, None, one, None]
    assert store.identities([]) == []


def test_what_is_found_is_compared_in_constant_time(
    store: Store, add_key: AddKey, monkeypatch: pytest.MonkeyPatch
) -> None:
    add_key("one")
    compared: list[tuple[str, str]] = []

    def never_equal(stored: str, asked: str) -> bool:
        compared.append((stored, asked))
        return False

    monkeypatch.setattr("app.store.keys.hmac.compare_digest", never_equal)
    assert store.identities(["hash of one", "hash of nobody"]) == [None, None]
    assert compared == [("hash of one", "hash of one")]


def test_a_key_is_good_until_it_is_revoked(store: Store, replica: Store, add_key: AddKey, now: datetime) -> None:
    add_key("one")
    add_key("two")
    assert [store.is_good_key(key_id) for key_id in ("one", "two")] == [True, True]
    assert [store.is_good_key(key_id) for key_id in ("nobodys", "hash of one", "")] == [False] * 3
    replica.revoke_key("one", now=now)
    assert [store.is_good_key(key_id) for key_id in ("one", "two")] == [False, True]


def test_a_revoked_key_is_nobodys_on_every_replica(
    store: Store, replica: Store, add_key: AddKey, now: datetime
) -> None:
    add_key("one")
    add_key("two")
    later = now + timedelta(days=1)
    revoked = store.revoke_key("one", now=later)
    assert revoked is not None
    assert revoked.revoked_at == later
    assert replica.identities(["hash of one", "hash of two"])[0] is None
    assert replica.identities(["hash of two"]) != [None]
    assert store.revoke_key("one", now=later + timedelta(days=1)) == revoked
    assert store.revoke_key("nobodys", now=later) is None


def test_there_are_keys_from_the_first_one_on_and_after_the_last_is_revoked(
    store: Store, replica: Store, add_key: AddKey, now: datetime
) -> None:
    assert not store.has_keys()
    add_key("one")
    assert replica.has_keys()
    store.revoke_key("one", now=now)
    assert replica.has_keys()


def test_keys_are_listed_by_tenant_and_age_without_their_hashes(store: Store, add_key: AddKey, now: datetime) -> None:
    first = add_key("c", "b-tenant", "use", at=now)
    second = add_key("a", "b-tenant", at=now + timedelta(seconds=1))
    other = add_key("b", "a-tenant")
    assert store.keys() == [other, first, second]
    assert store.keys("b-tenant") == [first, second]
    assert store.keys("nobody") == []
    assert first == KeyRecord("c", "b-tenant", "a name", frozenset(("use",)), now, None)
    assert "hash" not in str(store.keys())


def test_no_two_keys_have_one_hash_or_one_id(store: Store, now: datetime) -> None:
    store.add_key(NewKey("one", "acme", frozenset(), "hash"), now=now)
    for again in (NewKey("two", "acme", frozenset(), "hash"), NewKey("one", "acme", frozenset(), "other")):
        with pytest.raises((InnerloopError, SQLAlchemyError)):
            store.add_key(again, now=now)
    assert len(store.keys()) == 1


def test_what_the_database_refuses_is_logged_without_what_was_to_be_stored(store: Store, now: datetime) -> None:
    store.add_key(NewKey("one", "acme", frozenset(), "a hash"), now=now)
    with capture_logs() as lines, pytest.raises(InternalError):
        store.add_key(NewKey("two", "acme", frozenset(), "a hash", "a name"), now=now)
    (line,) = lines
    assert (line["event"], line["log_level"]) == ("the database refused a statement", "error")
    assert line["kind"] == "IntegrityError"
    assert "INSERT INTO api_keys" in line["statement"]
    assert not any(word in str(line) for word in ("a hash", "a name", "acme"))


def test_a_key_without_a_scope_may_do_nothing(store: Store) -> None:
    store.add_key(NewKey("one", "acme", frozenset(), "hash"), now=datetime.now(UTC))
    assert store.identities(["hash"]) == [Identity("acme", "one", frozenset())]
