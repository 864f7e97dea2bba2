"""Drawings of characters (an excerpt of Omniglot), as files and as nested lists, and ways to alter files."""

import base64
import io
import struct
import zlib
from functools import cache
from typing import Any
from zipfile import ZipFile

import numpy as np
from PIL import Image

from app.settings import REPOSITORY

EXCERPT = REPOSITORY / "tests" / "data" / "omniglot_excerpt.zip"
MODEL = "omniglot-5way"
SIDE = 28
PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"


@cache
def _files() -> tuple[tuple[bytes, ...], ...]:
    """Return the PNG files of each character."""
    of_character: dict[str, list[bytes]] = {}
    with ZipFile(EXCERPT) as archive:
        for name in sorted(archive.namelist()):
            if name.endswith(".png"):
                of_character.setdefault(name.rpartition("/")[0], []).append(archive.read(name))
    return tuple(map(tuple, of_character.values()))


def drawing(character: int, number: int) -> bytes:
    """Return one of the 20 drawings of one of the characters, a PNG file of 105 x 105."""
    # Two characters lie 5 apart, so that few of them are of one alphabet.
    files = _files()
    return files[character * 5 % len(files)][number]


def picture(character: int, number: int) -> Image.Image:
    """Return a drawing with black ink on white."""
    return Image.open(io.BytesIO(drawing(character, number))).convert("L")


def as_list(image: Image.Image) -> list[list[list[float]]]:
    """Return a picture as the network sees it: [1][28][28] in 0..1."""
    small = image.convert("L").resize((SIDE, SIDE), Image.Resampling.BOX)
    rows: list[list[float]] = (np.asarray(small, dtype=np.float64) / 255.0).round(6).tolist()
    return [rows]


def in_base64(data: bytes) -> str:
    return base64.b64encode(data).decode()


def saved(image: Image.Image, form: str, **options: Any) -> bytes:
    """Return a picture as a file of a form."""
    file = io.BytesIO()
    image.save(file, form, **options)
    return file.getvalue()


def rows_of(names: list[Any], shots: list[int], *, first: int = 0) -> dict[str, list[Any]]:
    """Return `shots[i]` drawings of character i, as lists, under the class `names[i]`; classes take turns."""
    inputs, targets = [], []
    for number in range(max(shots)):
        for character, name in enumerate(names):
            if number < shots[character]:
                inputs.append(as_list(picture(character, first + number)))
                targets.append(name)
    return {"inputs": inputs, "targets": targets}


def png_of_size(width: int, height: int) -> bytes:
    """Return a PNG that declares a size and has next to no data."""
    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(b"\0")), (b"IEND", b""))
    return PNG_SIGNATURE + b"".join(_chunk(kind, data) for kind, data in chunks)


def png_of_depth(image: Image.Image, bits: int, colour_type: int) -> bytes:
    """Return a PNG as written by hand: grey (colour type 0), colour (2), or grey and colour on alpha (4 and 6).

    Where there is alpha, the ink is black on what is transparent.
    """
    header = struct.pack(">IIBBBBB", *image.size, bits, colour_type, 0, 0, 0)
    tone = np.asarray(image).astype(np.int64) * (2**bits - 1) // 255
    colours = {0: [tone], 2: [tone] * 3, 4: [tone * 0], 6: [tone * 0] * 3}[colour_type]
    samples = np.stack([*colours, *[2**bits - 1 - tone] * (colour_type in (4, 6))], axis=-1).reshape(len(tone), -1)
    in_bits = (samples[:, :, None] >> np.arange(bits - 1, -1, -1)) & 1
    rows = np.packbits(in_bits.reshape(len(tone), -1).astype(np.uint8), axis=1)
    data = zlib.compress(b"".join(b"\0" + row.tobytes() for row in rows))
    chunks = ((b"IHDR", header), (b"IDAT", data), (b"IEND", b""))
    return PNG_SIGNATURE + b"".join(_chunk(kind, part) for kind, part in chunks)


def png_with_exif(entries: list[tuple[int, int, bytes]]) -> bytes:
    """Return a small PNG with EXIF entries (tag, type, four bytes of value) written as they are."""
    body = struct.pack("<H", len(entries)) + b"".join(
        struct.pack("<HHI", tag, kind, 1) + value for tag, kind, value in entries
    )
    exif = b"II*\0" + struct.pack("<I", 8) + body + struct.pack("<I", 0)
    return saved(picture(0, 0), "PNG", exif=b"Exif\0\0" + exif)


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
