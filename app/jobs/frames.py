"""Messages between a worker and its training child: a JSON head and bytes, over a pipe."""

import json
import struct
from typing import IO, Any, NamedTuple

LENGTHS = struct.Struct("<IQ")
"""Bytes of the head, bytes of the payload."""


class Frame(NamedTuple):
    """One message."""

    kind: str
    head: dict[str, Any]
    payload: bytes = b""


def write_frame(stream: IO[bytes], frame: Frame) -> None:
    """Write a message whole; OSError (BrokenPipeError) when nobody reads any more."""
    head = json.dumps({"kind": frame.kind, **frame.head}).encode()
    stream.write(LENGTHS.pack(len(head), len(frame.payload)))
    stream.write(head)
    stream.write(frame.payload)
    stream.flush()


def read_frame(stream: IO[bytes]) -> Frame | None:
    """Return the next message, None at the end of the stream, be it in the midst of one."""
    lengths = stream.read(LENGTHS.size)
    if len(lengths) < LENGTHS.size:
        return None
    num_head, num_payload = LENGTHS.unpack(lengths)
    head, payload = stream.read(num_head), stream.read(num_payload)
    if len(head) < num_head or len(payload) < num_payload:
        return None
    fields = json.loads(head)
    return Frame(fields.pop("kind"), fields, payload)
