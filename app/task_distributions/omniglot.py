"""Omniglot's official archive as labelled data: a character is a class, its alphabet the super-class.

Lake, Salakhutdinov, Tenenbaum 2015. Layout: `images_background/<alphabet>/<character>/<drawing>.png`.
"""

import zipfile
import zlib
from collections import defaultdict
from pathlib import Path, PurePosixPath

import numpy as np
import numpy.typing as npt
import torch

from app.pictures import decode_picture
from app.task_distributions.labelled import LabelledData
from innerloop.errors import InnerloopError

SHAPE = (1, 28, 28)
MAX_PIXELS = 105 * 105


def read_omniglot(path: Path) -> LabelledData:
    """Return the drawings at 28 x 28, ink dark; ValueError when the file is not such an archive."""
    pictures: list[npt.NDArray[np.uint8]] = []
    rows_of: dict[tuple[str, str], list[int]] = defaultdict(list)
    try:
        with zipfile.ZipFile(path) as archive:
            for name in sorted(archive.namelist()):
                parts = PurePosixPath(name).parts
                if len(parts) == 4 and name.endswith(".png"):
                    rows_of[parts[1], parts[2]].append(len(pictures))
                    pictures.append(_picture(archive, name))
    except zipfile.BadZipFile as error:
        raise ValueError(f"{path} is no zip archive, or a damaged one") from error
    if not pictures:
        raise ValueError(f"{path} holds no <folder>/<alphabet>/<character>/<drawing>.png")
    return LabelledData(
        inputs=torch.from_numpy(np.stack(pictures)),
        rows_of_class=tuple(torch.tensor(rows) for rows in rows_of.values()),
        class_names=tuple(f"{alphabet}/{character}" for alphabet, character in rows_of),
        super_classes=tuple(alphabet for alphabet, _ in rows_of),
    )


def _picture(archive: zipfile.ZipFile, name: str) -> npt.NDArray[np.uint8]:
    try:
        return decode_picture(archive.read(name), SHAPE, MAX_PIXELS)
    except InnerloopError as error:
        raise ValueError(f"{name}: {error.detail}") from error
    except zlib.error as error:
        raise ValueError(f"{name}: its deflated data is damaged: {error}") from error
