import io
import struct
import time
import warnings
import zlib
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from app.pictures import decode_picture
from innerloop.errors import InnerloopError, InvalidPicture, PictureTooLarge

MAX_PIXELS = 1_000_000
GREY, COLOUR = 1, 3
SIGNATURE = b"\x89PNG\r\n\x1a\n"
ORIENTATION = 0x0112


def decoded(data: bytes, channels: int = GREY, height: int = 2, width: int = 3) -> Any:
    return decode_picture(data, (channels, height, width), MAX_PIXELS).tolist()


def file_of(picture: Image.Image, form: str = "PNG", **options: Any) -> bytes:
    file = io.BytesIO()
    picture.save(file, form, **options)
    return file.getvalue()


def chunk(name: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def raw_png(size: tuple[int, int], depth: int, colour_type: int, rows: bytes, *chunks: bytes) -> bytes:
    """Return a PNG put together by hand: what Pillow writes itself leaves many forms out."""
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", *size, depth, colour_type, 0, 0, 0))
    return SIGNATURE + header + b"".join(chunks) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


GREYS = [[0, 50, 100], [150, 200, 255]]
GREY_PICTURE = Image.fromarray(np.array(GREYS, dtype=np.uint8))
COLOURS = np.array(
    [[[255, 0, 0], [0, 255, 0], [0, 0, 255]], [[255, 255, 255], [0, 0, 0], [10, 20, 30]]], dtype=np.uint8
)
COLOUR_PICTURE = Image.fromarray(COLOURS)


def test_grey_png_is_its_pixels() -> None:
    assert decoded(file_of(GREY_PICTURE)) == [GREYS]


def test_colour_png_is_its_pixels_channel_by_channel() -> None:
    assert decoded(file_of(COLOUR_PICTURE), COLOUR) == COLOURS.transpose(2, 0, 1).tolist()


def test_grey_png_in_colour_is_three_times_the_same() -> None:
    assert decoded(file_of(GREY_PICTURE), COLOUR) == [GREYS] * 3


def test_colour_png_in_grey_is_its_luma() -> None:
    red, green, blue = COLOURS.astype(float).transpose(2, 0, 1)
    expected = 0.299 * red + 0.587 * green + 0.114 * blue  # ITU-R 601-2
    np.testing.assert_allclose(decoded(file_of(COLOUR_PICTURE)), [expected], atol=1.0)


@pytest.mark.parametrize("options", [{}, {"progressive": True}, {"quality": 100, "subsampling": 0}], ids=str)
def test_jpeg_is_nearly_its_pixels(options: dict[str, Any]) -> None:
    plain = Image.new("RGB", (16, 16), (200, 100, 50))
    found = np.array(decoded(file_of(plain, "JPEG", **options), COLOUR))
    np.testing.assert_allclose(found, np.full_like(found, [[[200]], [[100]], [[50]]]), atol=3)


@pytest.mark.parametrize(("mode", "ink", "expected"), [("L", 77, 77), ("CMYK", (0, 0, 0, 0), 255)])
def test_jpeg_in_grey_or_for_print_is_read(mode: str, ink: Any, expected: int) -> None:
    found = decoded(file_of(Image.new(mode, (16, 16), ink), "JPEG"))
    np.testing.assert_allclose(found, np.full_like(found, expected), atol=2)


def test_array_is_contiguous_bytes_of_the_shape_asked_for() -> None:
    for shape in ((1, 28, 28), (3, 5, 7)):
        found = decode_picture(file_of(COLOUR_PICTURE), shape, MAX_PIXELS)
        assert found.shape == shape
        assert found.dtype == np.uint8
        assert found.flags.c_contiguous


def test_picture_is_stretched_to_height_and_width_by_means() -> None:
    stripes = np.repeat(np.array([[0, 100, 200, 40]], dtype=np.uint8), 6, axis=0)
    assert decoded(file_of(Image.fromarray(stripes)), height=3, width=2) == [[[50, 120]] * 3]


@pytest.mark.parametrize("size", [(1, 1), (1, 300), (300, 1)])
def test_smallest_and_longest_pictures_are_stretched_too(size: tuple[int, int]) -> None:
    assert decoded(file_of(Image.new("L", size, 9))) == [[[9] * 3] * 2]


# Transparency becomes white.


@pytest.mark.parametrize(
    ("mode", "pixel", "expected"),
    [
        ("RGBA", (0, 0, 0, 0), 255),
        ("RGBA", (0, 0, 0, 255), 0),
        ("RGBA", (0, 0, 0, 128), 127),
        ("RGBA", (255, 255, 255, 0), 255),
        ("LA", (0, 0), 255),
        ("LA", (100, 255), 100),
        ("LA", (0, 64), 191),
    ],
)
def test_transparency_becomes_white(mode: str, pixel: tuple[int, ...], expected: int) -> None:
    for channels in (GREY, COLOUR):
        found = decoded(file_of(Image.new(mode, (4, 4), pixel)), channels)
        np.testing.assert_allclose(found, np.full_like(found, expected), atol=1)


def test_transparent_entry_of_a_palette_becomes_white() -> None:
    picture = GREY_PICTURE.convert("P")
    assert decoded(file_of(picture, transparency=0)) == [[[255, 50, 100], [150, 200, 255]]]


def test_transparent_grey_becomes_white() -> None:
    png = raw_png((2, 1), 8, 0, b"\0\x05\x64", chunk(b"tRNS", struct.pack(">H", 5)))
    assert decoded(png, height=1, width=2) == [[[255, 100]]]


def test_transparent_colour_becomes_white() -> None:
    png = raw_png((2, 1), 8, 2, b"\0\x05\x05\x05\x01\x02\x03", chunk(b"tRNS", struct.pack(">HHH", 5, 5, 5)))
    assert decoded(png, COLOUR, height=1, width=2) == [[[255, 1]], [[255, 2]], [[255, 3]]]


# Other depths than 8 bits.


def test_sixteen_bits_are_scaled_down_and_not_clipped() -> None:
    png = raw_png((3, 1), 16, 0, b"\0" + struct.pack(">HHH", 0, 0x8000, 0xFFFF))
    assert decoded(png, height=1) == [[[0, 128, 255]]]


def test_sixteen_bits_with_a_transparent_grey_are_scaled_down_too() -> None:
    png = raw_png((3, 1), 16, 0, b"\0" + struct.pack(">HHH", 7, 0x8000, 0x4000), chunk(b"tRNS", struct.pack(">H", 7)))
    assert decoded(png, height=1) == [[[255, 128, 64]]]


def test_sixteen_bit_colour_is_scaled_down() -> None:
    png = raw_png((1, 1), 16, 2, b"\0" + struct.pack(">HHH", 0x8000, 0xFFFF, 0))
    assert decoded(png, COLOUR, 1, 1) == [[[128]], [[255]], [[0]]]


@pytest.mark.parametrize(
    ("depth", "row", "expected"),
    [(1, 0b01000000, [0, 255, 0]), (2, 0b00011011, [0, 85, 170, 255]), (4, 0x0F, [0, 255])],
)
def test_fewer_than_eight_bits_are_scaled_up(depth: int, row: int, expected: list[int]) -> None:
    width = len(expected)
    assert decoded(raw_png((width, 1), depth, 0, bytes([0, row])), height=1, width=width) == [[expected]]


def test_palette_is_looked_up() -> None:
    png = raw_png((3, 1), 8, 3, b"\0\2\1\0", chunk(b"PLTE", bytes([9, 9, 9, 50, 60, 70, 255, 0, 1])))
    assert decoded(png, COLOUR, height=1) == [[[255, 50, 9]], [[0, 60, 9]], [[1, 70, 9]]]


# EXIF.


def exif(orientation: Any) -> bytes:
    tags = Image.Exif()
    tags[ORIENTATION] = orientation
    return tags.tobytes()


@pytest.mark.parametrize(
    ("orientation", "upright"),
    [
        (1, [[1, 2, 3], [4, 5, 6]]),
        (2, [[3, 2, 1], [6, 5, 4]]),
        (3, [[6, 5, 4], [3, 2, 1]]),
        (4, [[4, 5, 6], [1, 2, 3]]),
        (5, [[1, 4], [2, 5], [3, 6]]),
        (6, [[4, 1], [5, 2], [6, 3]]),
        (7, [[6, 3], [5, 2], [4, 1]]),
        (8, [[3, 6], [2, 5], [1, 4]]),
    ],
)
@pytest.mark.parametrize("form", ["PNG", "JPEG"])
def test_picture_is_turned_upright(form: str, orientation: int, upright: list[list[int]]) -> None:
    """Each number is a square of pixels, which JPEG keeps nearly as they are."""
    squares = np.kron(np.array([[1, 2, 3], [4, 5, 6]]) * 40, np.ones((16, 16))).astype(np.uint8)
    data = file_of(Image.fromarray(squares), form, exif=exif(orientation))
    found = np.array(decoded(data, height=len(upright), width=len(upright[0])))[0]
    np.testing.assert_allclose(found, np.array(upright) * 40, atol=2)


@pytest.mark.parametrize("orientation", [0, 9, 255])
def test_orientation_that_is_none_is_no_turn(orientation: int) -> None:
    assert decoded(file_of(GREY_PICTURE, exif=exif(orientation))) == [GREYS]


TAGS = Image.Exif()
TAGS[ORIENTATION] = 6  # of 1 nothing is done, and so nothing can go wrong
TAGS[0x0110] = "camera"
TAGS[0x011A] = 72.0
TAGS[0x9C9B] = b"title"
TAGS.get_ifd(0x8769)[0xA002] = 30
TAGS.get_ifd(0x8825)[2] = (1.0, 2.0, 3.0)
EXIF = TAGS.tobytes()


@pytest.mark.filterwarnings("ignore::UserWarning")  # Pillow tells of damaged tags that it skips
@settings(max_examples=300, deadline=None, derandomize=True, database=None)
@given(changes=st.lists(st.tuples(st.integers(14, len(EXIF) - 1), st.integers(0, 255)), min_size=1, max_size=4))
def test_damaged_exif_is_no_fault_of_ours(changes: list[tuple[int, int]]) -> None:
    damaged = bytearray(EXIF)
    for place, byte in changes:
        damaged[place] = byte
    _decode_or_refuse(file_of(GREY_PICTURE, exif=bytes(damaged)))


def test_picture_is_turned_upright_beside_a_tag_of_another_type() -> None:
    """The width as text: a tag of the wrong type that nobody needs. The image is as it should be."""
    width = struct.pack(">HHII", 0x0100, 2, 1, 0x61000000)
    turn = struct.pack(">HHII", ORIENTATION, 3, 1, 6 << 16)
    tags = b"MM\0*" + struct.pack(">IH", 8, 2) + width + turn + bytes(4)
    found = decoded(file_of(GREY_PICTURE, exif=b"Exif\0\0" + tags), height=3, width=2)
    assert found == [[[150, 0], [200, 50], [255, 100]]]


# What is no picture, or too much of one.


NOT_PICTURES = {
    "nothing": b"",
    "text": b"hello, I am notes.txt renamed to notes.png",
    "signature": SIGNATURE,
    "half a header": SIGNATURE + b"IHDR",
    "start of a JPEG": b"\xff\xd8\xff\xe0",
    "gif": file_of(GREY_PICTURE, "GIF"),
    "bmp": file_of(GREY_PICTURE, "BMP"),
    "tiff": file_of(GREY_PICTURE, "TIFF"),
    "webp": file_of(GREY_PICTURE, "WEBP"),
    "svg": b"<svg xmlns='http://www.w3.org/2000/svg' width='9' height='9'/>",
    "eps": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n",
    "no width": raw_png((0, 1), 8, 0, b"\0"),
}


@pytest.mark.parametrize("data", NOT_PICTURES.values(), ids=NOT_PICTURES)
def test_bytes_that_are_no_png_or_jpeg_are_refused(data: bytes) -> None:
    with pytest.raises(InvalidPicture, match="no PNG or JPEG picture"):
        decoded(data)


def test_other_formats_can_be_allowed() -> None:
    gif = file_of(GREY_PICTURE, "GIF")
    assert decode_picture(gif, (1, 2, 3), MAX_PIXELS, formats=("GIF",)).tolist() == [GREYS]


NOISE = Image.fromarray(np.random.default_rng(0).integers(0, 256, (40, 40, 3), dtype=np.uint8))


@pytest.mark.parametrize("form", ["PNG", "JPEG"])
@pytest.mark.parametrize("share", [0.2, 0.5, 0.9])
def test_truncated_picture_is_refused(form: str, share: float) -> None:
    data = file_of(NOISE, form)
    with pytest.raises(InvalidPicture):
        decoded(data[: int(len(data) * share)])


def test_picture_with_a_wrong_checksum_is_refused() -> None:
    data = bytearray(file_of(GREY_PICTURE))
    data[data.index(b"IDAT") + 6] ^= 0xFF
    with pytest.raises(InvalidPicture):
        decoded(bytes(data))


@pytest.mark.filterwarnings("ignore::UserWarning")  # Pillow tells of damaged tags that it skips
@settings(max_examples=300, deadline=None, derandomize=True, database=None)
@given(
    form=st.sampled_from(["PNG", "JPEG"]),
    changes=st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.integers(0, 255)), min_size=1, max_size=5),
)
def test_any_damage_is_refused_or_survived(form: str, changes: list[tuple[float, int]]) -> None:
    data = bytearray(file_of(COLOUR_PICTURE, form, exif=EXIF))
    for share, byte in changes:
        data[int(share * len(data))] = byte
    _decode_or_refuse(bytes(data))


def _decode_or_refuse(data: bytes) -> None:
    try:
        found = decoded(data)
    except InnerloopError:
        return
    assert np.shape(found) == (1, 2, 3)


@pytest.mark.parametrize("size", [(1001, 1000), (20_000, 20_000), (2**31 - 1, 2**31 - 1), (1, 2_000_000)])
def test_enormous_size_is_refused_before_decoding(size: tuple[int, int]) -> None:
    """The rows are missing, so that decoding would end in another error."""
    start = time.process_time()
    with pytest.raises(PictureTooLarge, match=f"at most {MAX_PIXELS} pixels|more than {MAX_PIXELS} pixels"):
        decoded(raw_png(size, 8, 6, b""))
    assert time.process_time() - start < 0.5


def test_largest_picture_allowed_is_taken_and_one_pixel_more_is_not() -> None:
    data = file_of(Image.new("L", (10, 10), 3))
    assert decode_picture(data, (1, 1, 1), 100).tolist() == [[[3]]]
    with pytest.raises(PictureTooLarge, match="a picture of 10 x 10 pixels; at most 99 pixels are taken"):
        decode_picture(data, (1, 1, 1), 99)


def test_text_that_unpacks_to_gigabytes_is_refused() -> None:
    bomb = chunk(b"zTXt", b"a\0\0" + zlib.compress(bytes(50_000_000)))
    with pytest.raises(InvalidPicture):
        decoded(raw_png((1, 1), 8, 0, b"\0\0", bomb))


# More than one frame.


def test_first_frame_of_an_animated_png_counts() -> None:
    frames = file_of(GREY_PICTURE, save_all=True, append_images=[Image.new("L", (3, 2), 7)] * 3)
    assert decoded(frames) == [GREYS]


def test_first_picture_of_a_multi_picture_jpeg_counts() -> None:
    first, second = Image.new("L", (16, 16), 200), Image.new("L", (16, 16), 10)
    found = decoded(file_of(first, "MPO", save_all=True, append_images=[second]))
    np.testing.assert_allclose(found, np.full_like(found, 200), atol=2)


def test_warnings_of_others_are_left_as_they_were() -> None:
    before = list(warnings.filters)
    decoded(file_of(GREY_PICTURE))
    assert list(warnings.filters) == before
