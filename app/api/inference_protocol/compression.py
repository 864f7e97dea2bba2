"""Bodies that come compressed, unpacked only once it is known that they are no larger than bodies may be."""

import zlib
from collections.abc import Iterator

from anyio import to_thread
from fastapi import Request

from app.api.body import read_bytes, too_large
from innerloop.errors import BadRequest, UnsupportedMediaType

WINDOW_BITS = {"gzip": 31, "deflate": 15}
"""zlib's name of each Content-Encoding; deflate is the zlib format, as HTTP says."""
PIECE_BYTES = 64 * 1024


async def read_unpacked(request: Request, max_bytes: int) -> bytes | bytearray:
    """Return a body of any media type, unpacked; BodyTooLarge, BadRequest or UnsupportedMediaType."""
    encoding = request.headers.get("Content-Encoding", "identity").strip().lower()
    if encoding not in ("", "identity", *WINDOW_BITS):
        raise UnsupportedMediaType(f"Content-Encoding {encoding!r} is not taken; send gzip, deflate or identity")
    body = await read_bytes(request, max_bytes)
    if encoding not in WINDOW_BITS:
        return body
    return await to_thread.run_sync(unpacked, body, encoding, max_bytes)


def unpacked(body: bytes, encoding: str, max_bytes: int) -> bytearray:
    """Return the bytes that were packed as gzip or deflate; BodyTooLarge, BadRequest.

    They are counted in a first pass that keeps nothing of them, since a thousand times the body could come out.
    """
    num_bytes = 0
    for piece in _pieces(body, encoding):
        num_bytes += len(piece)
        if num_bytes > max_bytes:
            raise too_large(max_bytes)
    found, end = bytearray(num_bytes), 0
    for piece in _pieces(body, encoding):
        found[end : end + len(piece)] = piece
        end += len(piece)
    return found


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
