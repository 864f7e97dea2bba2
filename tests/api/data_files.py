"""Small data sets as files of every form, and how they are sent."""

import io
import json
import zipfile
from typing import Any

import httpx
import numpy as np
import numpy.typing as npt

from innerloop.wire import DatasetInfo
from tests.api.drawings import picture, saved

Arrays = dict[str, npt.NDArray[Any]]

NUM_CLASSES, PER_CLASS = 12, 8
NUM_GROUPS, PER_GROUP = 12, 20


def labelled_arrays(num_classes: int = NUM_CLASSES, per_class: int = PER_CLASS, seed: int = 0) -> Arrays:
    """Return rows of 3 numbers around a centre for each class, in the hundreds, and super-classes of two."""
    rng = np.random.default_rng(seed)
    codes = np.arange(num_classes).repeat(per_class)
    inputs = 500.0 + 100.0 * rng.normal(size=(num_classes, 3))[codes] + 5.0 * rng.normal(size=(len(codes), 3))
    return {
        "inputs": inputs.astype(np.float32),
        "targets": np.array([f"class {code}" for code in codes]),
        "groups": np.array([f"super {code // 2}" for code in codes]),
    }


def grouped_arrays(num_groups: int = NUM_GROUPS, per_group: int = PER_GROUP, seed: int = 0) -> Arrays:
    """Return a line for each group: inputs around 50, targets around 1000 with a deviation of about 100."""
    rng = np.random.default_rng(seed)
    codes = np.arange(num_groups).repeat(per_group)
    x = rng.uniform(0.0, 100.0, size=(len(codes), 1))
    level, slope = rng.normal(1000.0, 80.0, size=num_groups), rng.normal(0.0, 2.0, size=num_groups)
    targets = level[codes] + slope[codes] * (x[:, 0] - 50.0)
    return {
        "inputs": x.astype(np.float32),
        "targets": targets.astype(np.float32),
        "groups": np.array([f"patient {code}" for code in codes]),
    }


def npz_of(arrays: Arrays) -> bytes:
    """Return arrays as an npz file."""
    file = io.BytesIO()
    np.savez(file, **arrays)  # type: ignore[arg-type]  # numpy's stub takes its own options for arrays
    return file.getvalue()


def csv_of(columns: dict[str, Any]) -> bytes:
    """Return columns as a CSV file with a header."""
    lines = [",".join(columns)] + [",".join(map(str, row)) for row in zip(*columns.values(), strict=True)]
    return ("\n".join(lines) + "\n").encode()


def zip_of(files: dict[str, bytes]) -> bytes:
    """Return files as a zip archive."""
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as members:
        for name, data in files.items():
            members.writestr(name, data)
    return archive.getvalue()


def drawings_zip(num_classes: int = 9, per_class: int = 6) -> bytes:
    """Return drawings of characters, a folder a character."""
    return zip_of(
        {
            f"characters/character-{character}/{number}.png": saved(picture(character, number), "PNG")
            for character in range(num_classes)
            for number in range(per_class)
        }
    )


def send(http: httpx.Client, file: bytes, filename: str, **spec: Any) -> httpx.Response:
    """POST /datasets."""
    text = json.dumps(spec).encode()
    return http.post("/datasets", files={"file": (filename, file), "spec": (None, text, "application/json")})


def upload(http: httpx.Client, file: bytes, filename: str, *, status: int = 201, **spec: Any) -> DatasetInfo:
    """Return the data set that an upload made."""
    answer = send(http, file, filename, **spec)
    assert answer.status_code == status, answer.text
    info = DatasetInfo.model_validate_json(answer.content)
    assert answer.headers["Location"] == f"/datasets/{info.name}"
    return info
