"""Reading an upload: which form it has is told by its bytes, and each form has a file beside this one."""

from pathlib import Path

from app.datasets.archive import opened_archive
from app.datasets.arrays import contents_of_arrays
from app.datasets.caps import DatasetCaps
from app.datasets.class_folders import contents_of_folders
from app.datasets.contents import Contents, dataset_from
from app.datasets.npz import array_file_of
from app.datasets.safetensors_file import is_safetensors, opened_safetensors
from app.task_distributions.dataset import Dataset
from innerloop.errors import InvalidArchive, InvalidDataset
from innerloop.wire import DatasetSpec

FORMS = "npz, safetensors, CSV, Parquet or a zip of class folders"
PARQUET, ZIP, NPY, GZIP = b"PAR1", (b"PK\x03\x04", b"PK\x05\x06"), b"\x93NUMPY", b"\x1f\x8b"
HEAD_BYTES = 4096


def read_dataset(spec: DatasetSpec, path: Path, filename: str, caps: DatasetCaps) -> Dataset:
    """Return what the file at `path`, called `filename` in messages, holds of what `spec` says.

    Raises DatasetTooLarge, InvalidDataset, InvalidArchive, NotSafetensors or PictureTooLarge, naming the place.
    """
    return dataset_from(spec, _contents(spec, path, filename, caps))


def _contents(spec: DatasetSpec, path: Path, filename: str, caps: DatasetCaps) -> Contents:
    with path.open("rb") as file:
        head = file.read(HEAD_BYTES)
    if not head:
        raise InvalidDataset(f"{filename} is empty")
    suffix = Path(filename).suffix.lower()
    is_table = not (head.startswith(ZIP) or suffix in (".zip", ".npz", ".safetensors") or is_safetensors(head))
    if spec.order_by is not None and not is_table:
        raise InvalidDataset(f"spec.order_by names a column of a table; {filename} is none: sort its rows beforehand")
    if head.startswith(ZIP) or suffix in (".zip", ".npz"):
        return _of_zip(spec, path, filename, caps)
    if suffix == ".safetensors" or is_safetensors(head):
        with opened_safetensors(path, filename) as arrays:
            return contents_of_arrays(spec, arrays, filename, caps)
    if head.startswith(PARQUET) or suffix == ".parquet":
        return _of_parquet(spec, path, filename, caps)
    if head.startswith((NPY, GZIP)) or b"\0" in head:
        raise InvalidDataset(f"{filename} is none of {FORMS}")
    return _of_csv(spec, path, filename, caps)


def _of_zip(spec: DatasetSpec, path: Path, filename: str, caps: DatasetCaps) -> Contents:
    with opened_archive(path, filename, caps) as members:
        if not members:
            raise InvalidArchive(f"{filename} is an archive without files")
        if all(member.name.endswith(".npy") for member in members):
            return contents_of_arrays(spec, array_file_of(members), filename, caps)
        return contents_of_folders(spec, members, filename, caps)


# pyarrow takes a quarter of a second to import: a service that is sent no table starts without it.
def _of_csv(spec: DatasetSpec, path: Path, filename: str, caps: DatasetCaps) -> Contents:
    from app.datasets.csv_file import csv_table
    from app.datasets.table import contents_of_table

    return contents_of_table(spec, csv_table(path, filename), filename, caps)


def _of_parquet(spec: DatasetSpec, path: Path, filename: str, caps: DatasetCaps) -> Contents:
    from app.datasets.parquet_file import opened_parquet
    from app.datasets.table import contents_of_table

    with opened_parquet(path, filename, caps) as table:
        return contents_of_table(spec, table, filename, caps)
