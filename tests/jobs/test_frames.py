"""Messages between a worker and its training child."""

import io
import os
import threading

import pytest

from app.jobs.frames import LENGTHS, Frame, read_frame, write_frame

FRAMES = [
    Frame("begin", {}),
    Frame("progress", {"iteration": 3, "meta_loss": None, "rate": 0.25}),
    Frame("dataset", {"name": "wörter ☃"}, bytes(range(256)) * 5),
    Frame("checkpoint", {"nested": {"list": [1, "two", None, True]}}, b"\0"),
]


def written(*frames: Frame) -> bytes:
    stream = io.BytesIO()
    for frame in frames:
        write_frame(stream, frame)
    return stream.getvalue()


def read_all(data: bytes) -> list[Frame]:
    stream, found = io.BytesIO(data), []
    while (frame := read_frame(stream)) is not None:
        found.append(frame)
    return found


def test_frames_come_out_as_they_went_in() -> None:
    assert read_all(written(*FRAMES)) == FRAMES


@pytest.mark.parametrize("frame", FRAMES, ids=lambda frame: frame.kind)
def test_a_frame_that_is_cut_off_anywhere_is_the_end(frame: Frame) -> None:
    whole = written(frame)
    for length in {*range(min(len(whole), 80)), len(whole) // 2, len(whole) - 1}:
        assert read_all(whole[:length]) == []
        assert read_all(written(FRAMES[0]) + whole[:length]) == [FRAMES[0]]


def test_the_head_of_a_message_is_not_changed_by_writing_it() -> None:
    head = {"iteration": 1}
    written(Frame("progress", head))
    assert head == {"iteration": 1}


def test_lengths_say_how_many_bytes_follow() -> None:
    data = written(FRAMES[2])
    num_head, num_payload = LENGTHS.unpack(data[: LENGTHS.size])
    assert LENGTHS.size + num_head + num_payload == len(data)
    assert num_payload == len(FRAMES[2].payload)


def test_a_message_larger_than_a_pipe_arrives_whole() -> None:
    reading, writing = os.pipe()
    large = Frame("finished", {}, os.urandom(1 << 20))
    with os.fdopen(reading, "rb") as source, os.fdopen(writing, "wb") as sink:
        sender = threading.Thread(target=write_frame, args=(sink, large))
        sender.start()
        assert read_frame(source) == large
        sender.join(10)
        assert not sender.is_alive()


def test_writing_where_nobody_reads_is_told() -> None:
    reading, writing = os.pipe()
    os.close(reading)
    sink = os.fdopen(writing, "wb", buffering=0)
    with pytest.raises(BrokenPipeError):
        write_frame(sink, FRAMES[0])
    sink.close()
