"""A cache bounded in bytes: least recently used out first, one load for many waiters."""

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterable
from concurrent.futures import Future
from typing import Any, Generic, NamedTuple, TypeVar

Value = TypeVar("Value")


class CacheUse(NamedTuple):
    """What a cache holds now, and what came of it since it began."""

    bytes: int
    max_bytes: int
    entries: int
    hits: int
    misses: int
    evictions: int
    """Values that went for want of room."""


class ByteCache(Generic[Value]):
    """Holds values up to a number of bytes; may be used from any number of threads.

    A value larger than the whole cache is loaded and returned, but not kept.
    """

    def __init__(
        self, max_bytes: int, bytes_of: Callable[[Value], int], group_of: Callable[[Any], Hashable] = lambda key: key
    ) -> None:
        """`group_of` a key is what it can be forgotten by, together with others."""
        self._max_bytes = max_bytes
        self._bytes_of, self._group_of = bytes_of, group_of
        self._values: OrderedDict[Hashable, tuple[Value, int]] = OrderedDict()
        self._groups: dict[Hashable, set[Hashable]] = {}
        self._loading: dict[Hashable, Future[Value]] = {}
        self._forgotten: set[Hashable] = set()  # while they were loading
        self._num_bytes = self._hits = self._misses = self._evictions = 0
        self._lock = threading.Lock()

    @property
    def num_bytes(self) -> int:
        """The bytes held now."""
        return self._num_bytes

    @property
    def use(self) -> CacheUse:
        """What is held now, and how often that helped."""
        with self._lock:
            return CacheUse(
                self._num_bytes, self._max_bytes, len(self._values), self._hits, self._misses, self._evictions
            )

    def get(self, key: Hashable, load: Callable[[], Value], *, counts: bool = True) -> Value:
        """Return the value of `key`, from `load` on a miss; what `load` raises reaches every waiter.

        Not `counts`: for who looked with `held` before, which counted as a hit or a miss already.
        """
        with self._lock:
            if key in self._values:
                self._hits += counts
                self._values.move_to_end(key)
                return self._values[key][0]
            self._misses += counts
            waiting = self._loading.get(key)
            mine: Future[Value] | None = None
            if waiting is None:
                mine = self._loading[key] = Future()
        return self._load(key, load, mine) if mine is not None else _result(waiting)

    def held(self, key: Hashable) -> Value | None:
        """Return the value of `key` if it is held now."""
        with self._lock:
            if key not in self._values:
                self._misses += 1
                return None
            self._hits += 1
            self._values.move_to_end(key)
            return self._values[key][0]

    def put(self, key: Hashable, value: Value) -> None:
        """Keep a value that is at hand already."""
        with self._lock:
            self._put(key, value)

    def held_keys(self) -> list[Hashable]:
        """Return the keys held now."""
        with self._lock:
            return list(self._values)

    def forget(self, keys: Iterable[Hashable]) -> None:
        """Forget values; one that is being loaded goes to who waits for it, and is not kept."""
        with self._lock:
            for key in keys:
                self._drop(key)
                if key in self._loading:
                    self._forgotten.add(key)

    def forget_group(self, group: Hashable) -> None:
        """Forget the values of a group, as `forget` does."""
        with self._lock:
            keys = [*self._groups.get(group, ()), *(key for key in self._loading if self._group_of(key) == group)]
        self.forget(keys)

    def _load(self, key: Hashable, load: Callable[[], Value], mine: "Future[Value]") -> Value:
        try:
            value = load()
        except BaseException as error:
            with self._lock:
                self._end_loading(key)
            mine.set_exception(error)
            raise
        with self._lock:
            if self._end_loading(key):
                self._put(key, value)
        mine.set_result(value)
        return value

    def _end_loading(self, key: Hashable) -> bool:
        """Note that a key is loaded, and tell whether it is still wanted."""
        del self._loading[key]
        is_wanted = key not in self._forgotten
        self._forgotten.discard(key)
        return is_wanted

    def _put(self, key: Hashable, value: Value) -> None:
        size = self._bytes_of(value)
        self._drop(key)
        if size > self._max_bytes:
            return
        self._values[key] = (value, size)
        self._groups.setdefault(self._group_of(key), set()).add(key)
        self._num_bytes += size
        while self._num_bytes > self._max_bytes:
            self._drop(next(iter(self._values)))
            self._evictions += 1

    def _drop(self, key: Hashable) -> None:
        if key not in self._values:
            return
        _, size = self._values.pop(key)
        self._num_bytes -= size
        group = self._group_of(key)
        self._groups[group].discard(key)
        if not self._groups[group]:
            del self._groups[group]


def _result(waiting: "Future[Value] | None") -> Value:
    assert waiting is not None
    return waiting.result()
