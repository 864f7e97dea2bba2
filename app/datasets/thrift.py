"""Thrift's compact protocol, which Parquet's headers are in: as much of it as tells how much they stand for."""

from typing import Any

TRUE, FALSE, BYTE, INTEGERS, DOUBLE, BINARY, LISTS, STRUCT = 1, 2, 3, (4, 5, 6), 7, 8, (9, 10), 12
"""Kinds of values."""
MAX_DEPTH, MAX_FIELDS, MAX_VARINT_BITS = 16, 100, 64
LONG_LIST = 15
"""Instead of a list's length where that follows."""


class Damaged(Exception):
    """Raised for bytes that are not what they should be."""


class TooManyItems(Damaged):
    """Raised for lists that are longer than is taken."""


class Reader:
    """Reads structs out of bytes; Damaged where they are none, TooManyItems for lists of more than `max_items`."""

    def __init__(self, data: Any, at: int, end: int, max_items: int) -> None:
        """`data` gives a byte by its index; nothing from `end` on is read."""
        self._data, self.at, self._end, self._items_left = data, at, end, max_items

    def struct(self, depth: int = 0) -> dict[int, Any]:
        """Return integers and structs by the number of their field; what else there is is passed over."""
        if depth > MAX_DEPTH:
            raise Damaged("structs too deep within each other")
        found: dict[int, Any] = {}
        field = 0
        while head := self._byte():
            delta, kind = head >> 4, head & 15
            field = field + delta if delta else self._integer()
            if kind not in (TRUE, FALSE):  # which are their own values
                found[field] = self._value(kind, depth)
            if len(found) > MAX_FIELDS:
                raise Damaged("a struct of too many fields")
        return found

    def _value(self, kind: int, depth: int) -> Any:
        if kind in INTEGERS:
            return self._integer()
        if kind == STRUCT:
            return self.struct(depth + 1)
        if kind == BINARY:
            return self._skip(self._varint())
        if kind in LISTS:
            return self._list(depth)
        if kind in (TRUE, FALSE, BYTE, DOUBLE):
            return self._skip(8 if kind == DOUBLE else 1)
        raise Damaged("a value of no known kind")

    def _list(self, depth: int) -> None:
        head = self._byte()
        length, kind = head >> 4, head & 15
        if length == LONG_LIST:
            length = self._varint()
        self._items_left -= length
        if self._items_left < 0:
            raise TooManyItems("lists of too many items")
        for _ in range(length):
            self._value(kind, depth)

    def _byte(self) -> int:
        if self.at >= self._end:
            raise Damaged("cut off")
        self.at += 1
        return int(self._data[self.at - 1])

    def _varint(self) -> int:
        value = shift = 0
        while shift <= MAX_VARINT_BITS:
            byte = self._byte()
            value |= (byte & 0x7F) << shift
            if byte < 0x80:
                return value
            shift += 7
        raise Damaged("a number of too many bytes")

    def _integer(self) -> int:
        value = self._varint()
        return (value >> 1) ^ -(value & 1)

    def _skip(self, num_bytes: int) -> None:
        self.at += num_bytes
        if self.at > self._end:
            raise Damaged("cut off")
