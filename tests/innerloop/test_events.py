"""Claims about reading server-sent events out of bytes."""

import pytest

from innerloop.errors import UnexpectedAnswer
from innerloop.events import EventReader
from innerloop.wire import JobEvent

STREAM = (
    b"\xef\xbb\xbfretry: 1500\n"
    b": alive\n\n"
    b'id: 1\nevent: progress\ndata: {"iteration":\ndata: 10}\n\n'
    b":\n\n"
    b'id:2\r\nevent:status\r\ndata:{"status": "l\xc3\xa4uft"}\r\n\r\n'
    b'id: 3\revent: progress\rdata: {"iteration": 20}\rother: field\rword\r\r'
    b"event: end\nid: 4\n\n"
    b'event: progress\nid: 5\ndata: {"cut": '
)
EVENTS = [
    JobEvent(id=1, event="progress", data={"iteration": 10}),
    JobEvent(id=2, event="status", data={"status": "läuft"}),
    JobEvent(id=3, event="progress", data={"iteration": 20}),
    JobEvent(id=4, event="end", data={}),
]


@pytest.mark.parametrize("size", [1, 2, 3, 5, 7, 64, 10_000])
def test_events_are_the_same_wherever_the_bytes_are_cut(size: int) -> None:
    reader = EventReader()
    chunks = [STREAM[start : start + size] for start in range(0, len(STREAM), size)]
    assert [event for chunk in chunks for event in reader.feed(chunk)] == EVENTS
    assert reader.retry_seconds == 1.5


def test_unfinished_event_does_not_move_the_last_id() -> None:
    reader = EventReader(last_id=7)
    assert list(reader.feed(b"id: 8\nevent: progress\ndata: {}\n")) == []
    assert reader.last_id == 7
    assert list(reader.feed(b"\n")) == [JobEvent(id=8, event="progress", data={})]
    assert reader.last_id == 8


def test_event_without_an_id_has_that_of_the_one_before() -> None:
    reader = EventReader(last_id=7)
    assert [event.id for event in reader.feed(b"data: {}\n\nid: 9\ndata: {}\n\ndata: {}\n\n")] == [7, 9, 9]


def test_event_without_a_name_is_a_message() -> None:
    assert [event.event for event in EventReader().feed(b"data: {}\n\n")] == ["message"]


@pytest.mark.parametrize("sent", [b"data: [1]\n\n", b"data: {\n\n", b"data: word\n\n", b"id: a\n\n", b"id: -1\n"])
def test_event_that_is_none_of_a_job_is_refused(sent: bytes) -> None:
    with pytest.raises(UnexpectedAnswer, match="event"):
        list(EventReader().feed(sent))
