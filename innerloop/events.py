"""Read server-sent events out of the bytes of a stream, wherever the bytes are cut."""

import json
from collections.abc import Iterator

from pydantic import ValidationError

from innerloop.errors import UnexpectedAnswer
from innerloop.wire import JobEvent

END = "end"
"""The name of the event after which a stream has no more."""

_BYTE_ORDER_MARK = b"\xef\xbb\xbf"


class EventReader:
    """Take the bytes of one connection, and give out each event once its empty line has come.

    As the HTML standard's section 9.2.6 says, but that an event without data has an empty object, and that
    ids are integers. What a lost connection leaves unfinished is dropped with the reader.
    """

    def __init__(self, last_id: int = 0) -> None:
        self.last_id = last_id
        """The id of the last event that was given out; what `Last-Event-ID` asks to go on after."""
        self.retry_seconds: float | None = None
        """How long the service wants a client to wait before it connects again, where it said so."""
        self._rest = b""
        self._at_start = True
        self._id = last_id
        self._name = ""
        self._data: list[str] = []

    def feed(self, chunk: bytes) -> Iterator[JobEvent]:
        """Take more bytes; raises `UnexpectedAnswer` for an event that is none of a job's."""
        for line in self._lines(chunk):
            if line:
                self._take(line)
            elif self._name or self._data:
                yield self._event()

    def _lines(self, chunk: bytes) -> list[str]:
        whole = self._rest + chunk
        if self._at_start:
            if len(whole) < len(_BYTE_ORDER_MARK) and _BYTE_ORDER_MARK.startswith(whole):
                self._rest = whole
                return []
            whole = whole.removeprefix(_BYTE_ORDER_MARK)
            self._at_start = False
        # A return at the very end may be half of a line end whose other half has yet to come.
        held = b"\r" if whole.endswith(b"\r") else b""
        *lines, self._rest = whole.removesuffix(held).replace(b"\r\n", b"\n").replace(b"\r", b"\n").split(b"\n")
        self._rest += held
        return [line.decode("utf-8", errors="replace") for line in lines]

    def _take(self, line: str) -> None:
        field, _, value = line.partition(":")  # a comment has an empty field
        value = value.removeprefix(" ")
        if field == "data":
            self._data.append(value)
        elif field == "event":
            self._name = value
        elif field == "id":
            self._id = _integer(value)
        elif field == "retry" and value.isascii() and value.isdigit():
            self.retry_seconds = int(value) / 1000

    def _event(self) -> JobEvent:
        text = "\n".join(self._data)
        name, self._name, self._data = self._name or "message", "", []
        try:
            event = JobEvent(id=self._id, event=name, data=json.loads(text or "{}"))
        except (ValidationError, ValueError) as error:
            raise UnexpectedAnswer(f"event {name!r} with data that is no JSON object: {text[:200]!r}") from error
        self.last_id = self._id
        return event


def _integer(value: str) -> int:
    if not (value.isascii() and value.isdigit()):
        raise UnexpectedAnswer(f"event with the id {value[:80]!r}; those of a job are integers")
    return int(value)
