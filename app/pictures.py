"""Pictures as networks see them: decoded, turned upright, on white, at the network's size, 0 to 1."""

import io
import struct

import numpy as np
import numpy.typing as npt
from PIL import Image, UnidentifiedImageError

from innerloop.errors import InvalidPicture, PictureTooLarge

FORMATS = ("PNG", "JPEG")
PNG_HEAD, PNG_SIZE = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR", struct.Struct(">LL")
MODES = {1: "L", 3: "RGB"}
"""Pillow's mode by the number of channels."""
ORIENTATION_TAG = 0x0112
TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""What undoes each EXIF orientation."""


def decode_picture(
    data: bytes, shape: tuple[int, int, int], max_pixels: int, formats: tuple[str, ...] = FORMATS
) -> npt.NDArray[np.uint8]:
    """Return a PNG or JPEG as uint8 [C, H, W] of `shape`, stretched to its height and width.

    EXIF orientation is applied, transparency becomes white. Raises InvalidPicture for bytes that are no such
    picture and PictureTooLarge, before decoding, for more than `max_pixels`.
    """
    channels, height, width = shape
    try:
        with Image.open(io.BytesIO(data), formats=formats) as picture:
            if picture.width * picture.height > max_pixels:
                raise PictureTooLarge(
                    f"a picture of {picture.width} x {picture.height} pixels; at most {max_pixels} pixels are taken"
                )
            flat = _on_white(_upright(picture))
            resized = flat.convert(MODES[channels]).resize((width, height), Image.Resampling.BOX)
    except UnidentifiedImageError as error:
        raise InvalidPicture(f"these bytes are no {' or '.join(formats)} picture") from error
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise PictureTooLarge(f"a picture of more than {max_pixels} pixels") from error
    except (OSError, ValueError, SyntaxError, EOFError) as error:
        raise InvalidPicture(f"a damaged picture: {error}") from error
    pixels = np.asarray(resized, dtype=np.uint8)
    return np.ascontiguousarray(pixels[None] if channels == 1 else pixels.transpose(2, 0, 1))


def check_together(num_pixels: int, max_pixels: int) -> None:
    """Raise PictureTooLarge for more pixels of all pictures together: each takes its time, however few bytes it has."""
    if num_pixels > max_pixels:
        raise PictureTooLarge(
            f"pictures of {num_pixels} pixels together; at most {max_pixels} (max_request_pixels in GET /limits): "
            "scale them down, or send fewer at a time"
        )


def pixels_to_decode(data: bytes, max_pixels: int) -> int:
    """Return how many pixels of a PNG or JPEG would be decoded; none where it is refused by itself."""
    found = _num_pixels(data)
    return found if found <= max_pixels else 0


def _num_pixels(data: bytes) -> int:
    """Return how many pixels a PNG or JPEG says it has, by its header; 0 where that cannot be read."""
    if data.startswith(PNG_HEAD) and len(data) >= len(PNG_HEAD) + PNG_SIZE.size:
        width, height = PNG_SIZE.unpack_from(data, len(PNG_HEAD))
        return int(width * height)
    try:
        with Image.open(io.BytesIO(data), formats=FORMATS) as picture:
            return picture.width * picture.height
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError, Image.DecompressionBombWarning):
        return 0


def _upright(picture: Image.Image) -> Image.Image:
    """Return the picture turned as its EXIF orientation says; Pillow's own way writes all tags anew and may fail."""
    turn = TURNS.get(picture.getexif().get(ORIENTATION_TAG, 1))
    return picture if turn is None else picture.transpose(turn)


def _on_white(picture: Image.Image) -> Image.Image:
    if picture.mode.startswith("I"):
        return _eight_bit(picture)
    if picture.mode not in ("RGBA", "LA", "PA") and "transparency" not in picture.info:
        return picture
    layer = picture.convert("RGBA")
    return Image.alpha_composite(Image.new("RGBA", layer.size, "white"), layer)


def _eight_bit(picture: Image.Image) -> Image.Image:
    """Return 16-bit greys scaled down, which Pillow's own conversion clips; its one transparent grey becomes white."""
    grey = np.asarray(picture, dtype=np.uint32)
    shown = np.where(grey == picture.info.get("transparency", -1), 255, grey >> 8)
    return Image.fromarray(shown.clip(0, 255).astype(np.uint8))
