"""How large a data set may be: looked at before memory is taken, and again while reading."""

from dataclasses import dataclass

from innerloop.errors import DatasetTooLarge
from innerloop.wire import Limits


@dataclass(frozen=True)
class DatasetCaps:
    """The caps of an upload, as GET /limits names them."""

    max_rows: int
    max_bytes: int
    """Of what is unpacked: an archive's files, and the numbers that are made of them."""
    max_entries: int
    """Files and folders of an archive."""
    max_picture_pixels: int
    """Of one picture, before it is scaled."""
    max_request_pixels: int = 1_000_000_000
    """Of all pictures, before they are scaled."""

    def check_rows(self, num_rows: int, where: str) -> None:
        """Raise DatasetTooLarge, naming `where`, for more rows than are taken."""
        _check(num_rows, self.max_rows, "rows", where)

    def check_bytes(self, num_bytes: int, where: str) -> None:
        """Raise DatasetTooLarge, naming `where`, for more unpacked bytes than are taken."""
        _check(num_bytes, self.max_bytes, "bytes once unpacked", where)

    def check_entries(self, num_entries: int, where: str) -> None:
        """Raise DatasetTooLarge, naming `where`, for an archive of more entries than are taken."""
        _check(num_entries, self.max_entries, "entries", where)


def _check(found: int, cap: int, what: str, where: str) -> None:
    if found > cap:
        raise DatasetTooLarge(f"{where}: {found} {what}; at most {cap}, see GET /limits")


def caps_of(limits: Limits) -> DatasetCaps:
    """Return the caps that `GET /limits` tells of."""
    return DatasetCaps(
        max_rows=limits.max_dataset_rows,
        max_bytes=limits.max_dataset_bytes,
        max_entries=limits.max_archive_entries,
        max_picture_pixels=limits.max_picture_pixels,
        max_request_pixels=limits.max_request_pixels,
    )
