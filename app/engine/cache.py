"""A cache bounded in bytes: least recently used out first, one load for many waiters."""

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable
from concurrent.futures import Future
from typing import Generic, TypeVar

Value = TypeVar("Value")


class ByteCache(Generic[Value]):
    """Holds values up to a number of bytes; may be used from any number of threads.

    A value larger than the whole cache is loaded and returned, but not kept.
    """

    def __init__(self, max_bytes: int, bytes_of: Callable[[Value], int]) -> None:
        self._max_bytes = max_bytes
        self._bytes_of = bytes_of
        self._values: OrderedDict[Hashable, tuple[Value, int]] = OrderedDict()
        self._loading: dict[Hashable, Future[Value]] = {}
        self._num_bytes = 0
        self._lock = threading.Lock()

    @property
    def num_bytes(self) -> int:
        """The bytes held now."""
        return self._num_bytes

    def get(self, key: Hashable, load: Callable[[], Value]) -> Value:
        """Return the value of `key`, from `load` on a miss; what `load` raises reaches every waiter."""
        with self._lock:
            if key in self._values:
                self._values.move_to_end(key)
                return self._values[key][0]
            waiting = self._loading.get(key)
            mine: Future[Value] | None = None
            if waiting is None:
                mine = self._loading[key] = Future()
        return self._load(key, load, mine) if mine is not None else _result(waiting)

    def held(self, key: Hashable) -> Value | None:
        """Return the value of `key` if it is held now."""
        with self._lock:
            if key not in self._values:
                return None
            self._values.move_to_end(key)
            return self._values[key][0]

    def put(self, key: Hashable, value: Value) -> None:
        """Keep a value that is at hand already."""
        size = self._bytes_of(value)
        with self._lock:
            self._drop(key)
            if size > self._max_bytes:
                return
            self._values[key] = (value, size)
            self._num_bytes += size
            while self._num_bytes > self._max_bytes:
                self._drop(next(iter(self._values)))

    def held_keys(self) -> list[Hashable]:
        """Return the keys held now."""
        with self._lock:
            return list(self._values)

    def discard(self, chosen: Callable[[Hashable], bool]) -> None:
        """Forget every value whose key is `chosen`."""
        with self._lock:
            for key in [key for key in self._values if chosen(key)]:
                self._drop(key)

    def _load(self, key: Hashable, load: Callable[[], Value], mine: "Future[Value]") -> Value:
        try:
            value = load()
        except BaseException as error:
            self._forget_loading(key)
            mine.set_exception(error)
            raise
        self.put(key, value)
        self._forget_loading(key)
        mine.set_result(value)
        return value

    def _forget_loading(self, key: Hashable) -> None:
        with self._lock:
            del self._loading[key]

    def _drop(self, key: Hashable) -> None:
        _, size = self._values.pop(key, (None, 0))
        self._num_bytes -= size


def _result(waiting: "Future[Value] | None") -> Value:
    assert waiting is not None
    return waiting.result()
