import io
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from app.task_distributions.labelled import LabelledData
from app.task_distributions.omniglot import read_omniglot
from app.task_distributions.split import super_classes_of

EXCERPT = Path(__file__).parent.parent / "data" / "omniglot_excerpt.zip"
ALPHABETS = ("Braille", "Greek", "Hebrew", "Korean", "Latin")


@pytest.fixture(scope="module")
def omniglot() -> LabelledData:
    return read_omniglot(EXCERPT)


def test_each_character_is_a_class_of_its_alphabet(omniglot: LabelledData) -> None:
    assert omniglot.class_names == tuple(f"{name}/character{i:02}" for name in ALPHABETS for i in range(1, 7))
    assert omniglot.super_classes == tuple(name for name in ALPHABETS for _ in range(6))


def test_each_drawing_is_a_row_of_one_class(omniglot: LabelledData) -> None:
    assert [len(rows) for rows in omniglot.rows_of_class] == [20] * 30
    assert torch.equal(torch.cat(omniglot.rows_of_class).sort().values, torch.arange(600))


def test_drawings_are_dark_ink_on_white_at_28_by_28(omniglot: LabelledData) -> None:
    assert omniglot.inputs.shape == (600, 1, 28, 28)
    assert omniglot.inputs.dtype == torch.uint8
    lightness = omniglot.inputs.float().mean(dim=(1, 2, 3)) / 255
    assert float(lightness.min()) > 0.75
    assert all(picture.min() < 128 for picture in omniglot.inputs)


def test_row_is_the_drawing_of_the_archive(omniglot: LabelledData) -> None:
    """Each new pixel is the mean of the old ones whose centres it covers, 3 or 4 a side."""
    name = "images_background/Greek/character02/0395_07.png"
    with zipfile.ZipFile(EXCERPT) as archive, Image.open(io.BytesIO(archive.read(name))) as picture:
        pixels = np.asarray(picture.convert("L"), dtype=np.float64)
    covers = np.ceil((np.arange(105) + 0.5) / 3.75) - 1 == np.arange(28)[:, None]
    means = covers / covers.sum(axis=1, keepdims=True)
    row = omniglot.rows_of_class[omniglot.class_names.index("Greek/character02")][6]
    assert np.abs(omniglot.inputs[row, 0].numpy() - means @ pixels @ means.T).max() <= 1.0


def test_three_splits_can_be_made_of_the_excerpt(omniglot: LabelledData) -> None:
    assert {split: len(names) for split, names in super_classes_of(omniglot).items()} == {
        "train": 3,
        "validation": 1,
        "test": 1,
    }


def archive_of(folder: Path, *names: str) -> Path:
    path = folder / "archive.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for name in names:
            archive.writestr(name, b"no picture")
    return path


def test_file_that_is_no_archive_is_refused_by_name(tmp_path: Path) -> None:
    path = tmp_path / "numbers.zip"
    path.write_bytes(b"no archive")
    with pytest.raises(ValueError, match=r"numbers\.zip is no zip archive"):
        read_omniglot(path)


def test_archive_that_was_cut_off_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "half.zip"
    path.write_bytes(EXCERPT.read_bytes()[: EXCERPT.stat().st_size // 2])
    with pytest.raises(ValueError, match="is no zip archive"):
        read_omniglot(path)


def test_archive_of_another_layout_is_refused_with_the_right_one(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"holds no <folder>/<alphabet>/<character>/<drawing>\.png"):
        read_omniglot(archive_of(tmp_path, "images/Greek/01.png", "images/a/b/c/01.png", "images/a/b/01.txt"))


def test_archive_with_a_damaged_drawing_is_refused_by_its_name(tmp_path: Path) -> None:
    path = archive_of(tmp_path, "images/Greek/alpha/01.png")
    with pytest.raises(ValueError, match=r"images/Greek/alpha/01\.png"):
        read_omniglot(path)


def test_archive_with_damaged_compression_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "deflated.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("images/Greek/alpha/01.png", b"drawing" * 100)
    data = bytearray(path.read_bytes())
    start = 30 + len("images/Greek/alpha/01.png")  # past the local header
    data[start : start + 4] = b"\xff" * 4
    path.write_bytes(data)
    with pytest.raises(ValueError, match="deflated"):
        read_omniglot(path)
