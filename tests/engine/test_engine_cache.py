"""The cache: bounded, least recently used out first, one load for many waiters."""

import threading
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.engine.cache import ByteCache, CacheUse


def cache_of(max_bytes: int) -> ByteCache[bytes]:
    return ByteCache(max_bytes, len)


def must_not_load() -> bytes:
    raise AssertionError("loaded again")


def loading(value: bytes) -> Callable[[], bytes]:
    return lambda: value


def test_a_value_is_loaded_once() -> None:
    cache = cache_of(100)
    assert cache.get("a", loading(b"12345")) == b"12345"
    assert cache.get("a", must_not_load) == b"12345"
    assert cache.num_bytes == 5


def test_what_came_of_look_ups_is_counted_once_each() -> None:
    cache = cache_of(10)
    assert cache.use == CacheUse(bytes=0, max_bytes=10, entries=0, hits=0, misses=0, evictions=0)
    assert cache.held("a") is None
    assert cache.get("a", loading(b"12345"), counts=False) == b"12345"  # the look-up that was counted above
    assert cache.get("a", must_not_load) == b"12345"
    assert cache.get("b", loading(b"1234")) == b"1234"
    assert cache.use == CacheUse(bytes=9, max_bytes=10, entries=2, hits=1, misses=2, evictions=0)
    cache.put("c", b"123456")
    assert cache.held("c") == b"123456"
    cache.forget(["c"])
    assert cache.use == CacheUse(bytes=4, max_bytes=10, entries=1, hits=2, misses=2, evictions=1)


def test_what_is_held_counts_as_used_and_is_never_loaded() -> None:
    cache = cache_of(10)
    assert cache.held("a") is None
    cache.put("a", b"12345")
    cache.put("b", b"12345")
    assert cache.held("a") == b"12345"
    cache.put("c", b"12345")
    assert (cache.held("a"), cache.held("b")) == (b"12345", None)


def test_the_least_recently_used_goes_first() -> None:
    cache = cache_of(10)
    cache.put("a", b"12345")
    cache.put("b", b"12345")
    cache.get("a", must_not_load)
    cache.put("c", b"12345")
    assert cache.get("a", must_not_load) == b"12345"
    assert cache.get("b", loading(b"again")) == b"again"


def test_a_value_larger_than_the_cache_is_given_but_not_kept() -> None:
    cache = cache_of(4)
    cache.put("small", b"12")
    assert cache.get("large", loading(b"12345")) == b"12345"
    assert cache.num_bytes == 2
    assert cache.get("large", loading(b"54321")) == b"54321"


def test_forgotten_values_are_loaded_again_and_free_their_bytes() -> None:
    cache: ByteCache[bytes] = ByteCache(100, len, group_of=lambda key: key[1])
    for number, name in enumerate("aab"):
        cache.put(("tenant", name, number), b"12345")
    cache.forget_group("a")
    assert cache.held_keys() == [("tenant", "b", 2)]
    assert cache.num_bytes == 5
    cache.forget([("tenant", "b", 2), ("tenant", "b", 3)])
    assert cache.num_bytes == 0
    assert cache.get(("tenant", "a", 1), loading(b"new")) == b"new"


@pytest.mark.parametrize("by_group", [True, False])
def test_a_value_that_is_forgotten_while_it_is_loaded_is_given_and_not_kept(by_group: bool) -> None:
    cache: ByteCache[bytes] = ByteCache(100, len, group_of=lambda key: key[0])

    def load() -> bytes:
        if by_group:
            cache.forget_group("a")
        else:
            cache.forget([("a", 1)])
        return b"deleted meanwhile"

    assert cache.get(("a", 1), load) == b"deleted meanwhile"
    assert cache.held(("a", 1)) is None
    assert cache.get(("a", 1), loading(b"made anew")) == b"made anew"
    assert cache.held(("a", 1)) == b"made anew"


def test_many_waiters_share_one_load() -> None:
    cache, loads, release = cache_of(100), [], threading.Event()

    def slow() -> bytes:
        loads.append(threading.get_ident())
        assert release.wait(10)
        return b"value"

    found: list[bytes] = []
    threads = [threading.Thread(target=lambda: found.append(cache.get("a", slow))) for _ in range(16)]
    for thread in threads:
        thread.start()
    release.set()
    for thread in threads:
        thread.join(10)
    assert found == [b"value"] * 16
    assert len(loads) == 1


def test_what_a_load_raises_reaches_the_caller_and_the_next_one_tries_again() -> None:
    cache = cache_of(100)

    def failing() -> bytes:
        raise ValueError("the store is away")

    with pytest.raises(ValueError, match="the store is away"):
        cache.get("a", failing)
    assert cache.get("a", loading(b"back")) == b"back"


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 8)), max_size=50))
def test_the_bytes_held_never_exceed_the_bound(puts: list[tuple[int, int]]) -> None:
    cache = cache_of(12)
    for key, size in puts:
        cache.put(key, bytes(size))
        assert cache.num_bytes <= 12
