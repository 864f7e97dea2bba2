"""Small uploads of each form, written to a folder, and how they are read."""

import io
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from app.datasets.caps import DatasetCaps
from app.datasets.read import read_dataset
from app.task_distributions.dataset import Dataset
from innerloop.wire import DatasetSpec

DATA = Path(__file__).parent.parent / "data"
CAPS = DatasetCaps(max_rows=100_000, max_bytes=8 << 20, max_entries=2_000, max_picture_pixels=50_000)
GROUPED = {"kind": "grouped", "targets": "y", "group": "who"}
LABELLED = {"kind": "labelled", "targets": "y"}


def read(path: Path, spec: Mapping[str, Any], caps: DatasetCaps = CAPS) -> Dataset:
    return read_dataset(DatasetSpec.model_validate({"name": "mine", **spec}), path, path.name, caps)


def csv_of(folder: Path, text: str, name: str = "rows.csv") -> Path:
    path = folder / name
    path.write_bytes(text.encode())
    return path


def table_rows(**changes: list[Any]) -> dict[str, list[Any]]:
    """Return twelve rows of four groups in columns; `changes` replace columns."""
    return {
        "a": [i / 4 for i in range(12)],
        "b": [i * i for i in range(12)],
        "who": ["anna", "ben", "cléo", "dora"] * 3,
        "y": [float(i) - 3.5 for i in range(12)],
        **changes,
    }


def csv_text(columns: Mapping[str, list[Any]]) -> str:
    lines = [",".join(columns), *(",".join(map(str, row)) for row in zip(*columns.values(), strict=True))]
    return "\n".join(lines) + "\n"


def npz_of(folder: Path, **arrays: npt.NDArray[Any]) -> Path:
    path = folder / "rows.npz"
    np.savez(path, **arrays)  # type: ignore[arg-type]  # numpy's stub takes the last for allow_pickle
    return path


def zip_of(folder: Path, members: Mapping[str, bytes], name: str = "pictures.zip") -> Path:
    path = folder / name
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for member, data in members.items():
            archive.writestr(member, data)
    return path


def picture(shade: int = 0, *, mode: str = "L", size: tuple[int, int] = (12, 10), form: str = "PNG") -> bytes:
    file = io.BytesIO()
    Image.new(mode, size, shade if mode == "L" else (shade, 0, 255)).save(file, form)
    return file.getvalue()


def class_folders(changes: Mapping[str, bytes] | None = None, *, root: str = "") -> dict[str, bytes]:
    """Return four class folders of two grey pictures each; the shade is ten times the row."""
    names = [f"{root}{name}/{i}.png" for name in ("ant", "bee", "cat", "dog") for i in range(2)]
    return {name: picture(10 * row) for row, name in enumerate(names)} | dict(changes or {})
