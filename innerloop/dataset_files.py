"""Read a file, or zip a folder, for upload as a data set."""

import io
import zipfile
from pathlib import Path

from innerloop.calls import Upload
from innerloop.encoding import read_bytes
from innerloop.errors import UnreadableFile
from innerloop.files import PICTURES

# A zip cannot hold an earlier time; a fixed one makes the same folder the same bytes.
_ZIP_EPOCH = (1980, 1, 1, 0, 0, 0)


def upload_of(path: Path) -> Upload:
    """Return a file to upload; a folder of class folders is zipped. Raises `UnreadableFile`."""
    if path.is_dir():
        return Upload(f"{path.resolve().name or 'folder'}.zip", _zipped(path))
    if not path.exists():
        raise UnreadableFile(f"there is no {path}")
    return Upload(path.name, read_bytes(path))


def _zipped(folder: Path) -> bytes:
    pictures = [path for path in sorted(folder.rglob("*")) if _is_picture(path.relative_to(folder))]
    if not pictures:
        raise UnreadableFile(f"{folder} has no PNG or JPEG pictures in class folders, such as {folder}/cat/1.png")
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_STORED) as file:  # pictures are compressed already
        for path in pictures:
            file.writestr(zipfile.ZipInfo(path.relative_to(folder).as_posix(), _ZIP_EPOCH), read_bytes(path))
    return archive.getvalue()


def _is_picture(path: Path) -> bool:
    hidden = any(part.startswith(".") for part in path.parts)
    return not hidden and len(path.parts) > 1 and path.suffix.lower() in PICTURES
