"""Bodies that come compressed, unpacked only once it is known that they are no larger than bodies may be."""

import io
import zlib
from collections.abc import Iterator

from fastapi import Request

from innerloop.errors import BadRequest, BodyTooLarge, UnsupportedMediaType

WINDOW_BITS = {"gzip": 31, "deflate": 15}
"""zlib's name of each Content-Encoding; deflate is the zlib format, as HTTP says."""
PIECE_BYTES = 64 * 1024


def encoding_of(request: Request) -> str | None:
    """Return how a body is compressed, None where it is not; UnsupportedMediaType for a way that is not taken."""
    given = request.headers.get("Content-Encoding")
    if given is None:
        return None
    encoding = given.strip().lower()
    if encoding in ("", "identity"):
        return None
    if encoding not in WINDOW_BITS:
        raise UnsupportedMediaType(f"Content-Encoding {encoding[:64]!r} is not taken; send gzip, deflate or identity")
    return encoding


def unpacked(body: bytes, encoding: str, max_bytes: int) -> bytes:
    """Return the bytes that were packed as gzip or deflate; BodyTooLarge, BadRequest.

    They are counted in a first pass that keeps nothing of them, since a thousand times the body could come out.
    """
    num_bytes = 0
    for piece in _pieces(body, encoding):
        num_bytes += len(piece)
        if num_bytes > max_bytes:
            raise too_large(max_bytes)
    found = io.BytesIO()
    for piece in _pieces(body, encoding):
        found.write(piece)
    return found.getvalue()  # gives its buffer away, without a copy


def _pieces(body: bytes, encoding: str) -> Iterator[bytes]:
    unpacking = zlib.decompressobj(WINDOW_BITS[encoding])
    left = body
    try:
        while not unpacking.eof:
            piece = unpacking.decompress(left, PIECE_BYTES)
            left = unpacking.unconsumed_tail
            if not piece and not unpacking.eof:
                raise BadRequest(f"the {encoding} body is cut off")
            yield piece
    except zlib.error as error:
        raise BadRequest(f"the body is not {encoding}, as its Content-Encoding says") from error
    if unpacking.unused_data:
        raise BadRequest(f"{len(unpacking.unused_data)} bytes follow the end of the {encoding} body")


def too_large(max_bytes: int) -> BodyTooLarge:
    """Return the error of a body over the cap."""
    return BodyTooLarge(f"the body is larger than the {max_bytes} bytes that are taken here")
