"""Zip archives of pictures: a folder is a class, and the folder around it, where there is one, its super-class."""

import io
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from PIL import Image

from app.datasets.archive import Member
from app.datasets.caps import DatasetCaps
from app.datasets.contents import Contents, Names
from app.pictures import FORMATS, check_together, decode_picture, pixels_to_decode
from innerloop.errors import InvalidDataset, InvalidPicture, PictureTooLarge
from innerloop.wire import DatasetSpec

PICTURES = (".png", ".jpg", ".jpeg")
NOTES = (".txt", ".md", ".csv", ".json", ".xml", ".html", ".pdf")
"""What lies beside pictures and is none; passed over."""
ARCHIVES = (".zip", ".tar", ".gz", ".tgz", ".7z", ".rar")
NOTE_NAMES = ("readme", "license", "licence", "copying")
DEFAULT_SIZE = 28
PNG, PNG_COLOUR_TYPE, PNG_GREYS = b"\x89PNG\r\n\x1a\n", 25, (0, 4)
"""The byte of a PNG file that tells grey, with or without alpha, from colour."""
GREY_MODES = ("1", "L", "LA", "I;16", "I")

Pixels = npt.NDArray[np.uint8]


def contents_of_folders(spec: DatasetSpec, members: Sequence[Member], filename: str, caps: DatasetCaps) -> Contents:
    """Return the pictures at `spec.picture_size`, their classes, and their super-classes where folders have them.

    One channel when all are grey, else three. Raises InvalidDataset, naming the member, for one that is no picture
    or not in a class folder.
    """
    if spec.kind != "labelled":
        raise InvalidDataset(f"{filename}: class folders are of kind labelled, not {spec.kind}")
    pictures = [member for member in members if _is_picture(member.name)]
    if not pictures:
        raise InvalidDataset(
            f"{filename} holds no picture; it is laid out as [super-class/]class/picture.png, PNG or JPEG"
        )
    folders = _folders([member.name for member in pictures])
    caps.check_rows(len(pictures), filename)
    inputs = _decoded(pictures, spec.picture_size or DEFAULT_SIZE, filename, caps)
    classes = _names(["/".join(parts) for parts in folders])
    return Contents(inputs, classes, _names([parts[0] for parts in folders]) if len(folders[0]) == 2 else None)


def _is_picture(name: str) -> bool:
    """Tell a picture from a note beside it; InvalidDataset for what is neither."""
    lower = name.lower()
    if lower.endswith(PICTURES):
        return True
    if lower.endswith(NOTES) or lower.rpartition("/")[2] in NOTE_NAMES:
        return False
    if lower.endswith(ARCHIVES):
        raise InvalidDataset(f"{name}: an archive within the archive; unpack it into class folders")
    raise InvalidDataset(f"{name}: neither PNG nor JPEG by its name; class folders hold .png, .jpg and .jpeg files")


def _folders(names: Sequence[str]) -> list[tuple[str, ...]]:
    """Return for each picture (class,) or (super-class, class): its folders below those that all share."""
    above = [tuple(part for part in name.split("/")[:-1] if part not in ("", ".")) for name in names]
    for name, parts in zip(names, above, strict=True):
        if not parts:
            raise InvalidDataset(f"{name}: a picture outside class folders; a class is a folder")
    num_shared = _num_shared([parts[:-1] for parts in above])
    below = [parts[num_shared:] for parts in above]
    for name, parts in zip(names, below, strict=True):
        if len(parts) > 2:
            raise InvalidDataset(f"{name}: too deep; the layout is [super-class/]class/picture.png")
        if len(parts) != len(below[0]):
            raise InvalidDataset(
                f"{name}: {len(parts)} folders deep, {names[0]} {len(below[0])}; either all classes lie in folders of "
                "super-classes or none"
            )
    return below


def _num_shared(paths: Sequence[tuple[str, ...]]) -> int:
    shortest, longest = min(paths), max(paths)  # what the first and the last share, all between them do
    same = (one == other for one, other in zip(shortest, longest, strict=False))
    return next((i for i, equal in enumerate(same) if not equal), min(len(shortest), len(longest)))


def _decoded(pictures: Sequence[Member], size: int, filename: str, caps: DatasetCaps) -> Pixels:
    """Return [rows, C, size, size]."""
    where, channels = f"{filename} at {size} x {size} pixels", 1
    caps.check_bytes(len(pictures) * size * size, where)
    rows: list[Pixels] = []
    together = 0
    for member in pictures:
        data = member.read()
        together += pixels_to_decode(data, caps.max_picture_pixels)
        check_together(together, caps.max_request_pixels)
        if channels == 1 and not _is_grey(data, member.name):
            channels = 3
            caps.check_bytes(len(pictures) * size * size * channels, where)
        try:
            rows.append(decode_picture(data, (channels, size, size), caps.max_picture_pixels))
        except InvalidPicture as error:
            raise InvalidDataset(f"{member.name}: {error.detail}") from error
        except PictureTooLarge as error:
            raise PictureTooLarge(f"{member.name}: {error.detail}") from error
    found = np.empty((len(rows), channels, size, size), dtype=np.uint8)
    for i, row in enumerate(rows):
        found[i] = row  # grey ones before the first in colour become three equal channels
    return found


def _is_grey(data: bytes, name: str) -> bool:
    """Tell by the file's own mode: greys that are kept as colour are colour."""
    if data.startswith(PNG) and len(data) > PNG_COLOUR_TYPE:
        return data[PNG_COLOUR_TYPE] in PNG_GREYS
    try:
        with Image.open(io.BytesIO(data), formats=FORMATS) as picture:
            return picture.mode in GREY_MODES
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise InvalidDataset(f"{name}: no PNG or JPEG picture that can be read") from error


def _names(names: Sequence[str]) -> Names:
    codes: dict[str, int] = {}
    found = np.array([codes.setdefault(name, len(codes)) for name in names], dtype=np.int64)
    return Names(found, tuple(codes))
