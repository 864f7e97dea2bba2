import io
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from app.datasets.caps import DatasetCaps
from app.task_distributions.dataset import Dataset
from innerloop.errors import DatasetTooLarge, InvalidArchive, InvalidDataset, PictureTooLarge
from tests.datasets.uploads import CAPS, DATA, class_folders, picture, read, zip_of

LABELLED = {"kind": "labelled"}
EXCERPT = DATA / "omniglot_excerpt.zip"
ALPHABETS = ("Braille", "Greek", "Hebrew", "Korean", "Latin")


@pytest.fixture(scope="module")
def omniglot() -> Dataset:
    return read(EXCERPT, {**LABELLED, "split": {"by": "group"}})


def test_each_character_is_a_class_and_its_alphabet_the_super_class(omniglot: Dataset) -> None:
    assert omniglot.class_names == tuple(f"{name}/character{i:02}" for name in ALPHABETS for i in range(1, 7))
    assert omniglot.group_names == ALPHABETS
    assert torch.equal(omniglot.groups, omniglot.targets // 6)
    assert torch.equal(omniglot.targets, torch.arange(30).repeat_interleave(20))


def test_drawings_are_dark_ink_on_white_at_28_by_28(omniglot: Dataset) -> None:
    assert omniglot.inputs.shape == (600, 1, 28, 28)
    assert omniglot.inputs.dtype == torch.uint8
    lightness = omniglot.inputs.float().mean(dim=(1, 2, 3)) / 255
    assert float(lightness.min()) > 0.75
    assert all(picture.min() < 128 for picture in omniglot.inputs)


def test_row_is_the_drawing_of_the_archive(omniglot: Dataset) -> None:
    """Each new pixel is the mean of the old ones whose centres it covers, 3 or 4 a side."""
    name = "images_background/Greek/character02/0395_07.png"
    with zipfile.ZipFile(EXCERPT) as archive, Image.open(io.BytesIO(archive.read(name))) as drawing:
        pixels = np.asarray(drawing.convert("L"), dtype=np.float64)
    covers = np.ceil((np.arange(105) + 0.5) / 3.75) - 1 == np.arange(28)[:, None]
    means = covers / covers.sum(axis=1, keepdims=True)
    of_class = omniglot.inputs[omniglot.targets == omniglot.class_names.index("Greek/character02")]
    assert np.abs(of_class[6, 0].numpy() - means @ pixels @ means.T).max() <= 1.0


def test_splits_of_the_excerpt_are_of_whole_alphabets(omniglot: Dataset) -> None:
    alphabets = {part: {omniglot.group_names[n // 6] for n in classes} for part, classes in omniglot.split.items()}
    assert alphabets == {"train": {"Braille", "Korean", "Latin"}, "validation": {"Greek"}, "test": {"Hebrew"}}


@pytest.mark.parametrize("root", ["", "pictures/", "my/pictures/"])
def test_folders_that_all_share_are_no_class(root: str, tmp_path: Path) -> None:
    found = read(zip_of(tmp_path, class_folders(root=root)), LABELLED)
    assert found.class_names == ("ant", "bee", "cat", "dog")
    assert found.targets.tolist() == [0, 0, 1, 1, 2, 2, 3, 3]
    assert found.group_names == ()
    assert found.inputs.shape == (8, 1, 28, 28)
    assert found.inputs[:, 0, 0, 0].tolist() == [10 * row for row in range(8)]


def test_pictures_are_scaled_to_the_size_of_the_spec(tmp_path: Path) -> None:
    path = zip_of(tmp_path, class_folders())
    assert read(path, {**LABELLED, "picture_size": 9}).inputs.shape == (8, 1, 9, 9)


@pytest.mark.parametrize("place", ["ant/0.png", "dog/9.png"])
@pytest.mark.parametrize("form", ["PNG", "JPEG"])
def test_one_picture_in_colour_gives_all_three_channels(place: str, form: str, tmp_path: Path) -> None:
    found = read(zip_of(tmp_path, class_folders({place: picture(200, mode="RGB", form=form)})), LABELLED)
    assert found.inputs.shape[1:] == (3, 28, 28)
    coloured = 0 if place.startswith("ant") else -1
    assert (found.inputs[coloured, :, 5, 5].int() - torch.tensor([200, 0, 255])).abs().max() <= 3
    grey = found.inputs[1 if coloured == 0 else 0]
    assert torch.equal(grey[0], grey[1])
    assert torch.equal(grey[0], grey[2])


def test_grey_jpeg_stays_grey(tmp_path: Path) -> None:
    found = read(zip_of(tmp_path, class_folders({"dog/2.JPG": picture(70, form="JPEG")})), LABELLED)
    assert found.inputs.shape == (9, 1, 28, 28)
    assert abs(int(found.inputs[-1, 0, 5, 5]) - 70) <= 1


def test_transparency_is_white_and_orientation_is_applied(tmp_path: Path) -> None:
    clear, turned = io.BytesIO(), io.BytesIO()
    Image.new("LA", (8, 8), (0, 0)).save(clear, "PNG")
    tags = Image.Exif()
    tags[0x0112] = 3  # upside down
    half = Image.fromarray(np.repeat(np.array([[0], [255]], dtype=np.uint8), 8, axis=1))
    half.save(turned, "JPEG", exif=tags)
    changes = {"ant/clear.png": clear.getvalue(), "ant/turned.jpg": turned.getvalue()}
    found = read(zip_of(tmp_path, class_folders(changes)), LABELLED)
    assert (found.inputs[2] == 255).all()
    assert float(found.inputs[3, 0, :10].float().mean()) > float(found.inputs[3, 0, -10:].float().mean())


def test_notes_and_what_systems_leave_are_passed_over(tmp_path: Path) -> None:
    beside = {
        "README.md": b"x",
        "LICENSE": b"x",
        "ant/notes.txt": b"x",
        "__MACOSX/ant/._0.png": b"x",
        ".DS_Store": b"x",
    }
    assert len(read(zip_of(tmp_path, class_folders(beside)), LABELLED).inputs) == 8


def test_names_of_classes_may_be_in_any_script(tmp_path: Path) -> None:
    members = {f"{name}/1.png": picture() for name in ("猫", "сова", "ñandú")}
    assert set(read(zip_of(tmp_path, members), LABELLED).class_names) == {"猫", "сова", "ñandú"}


WRONG: list[tuple[dict[str, bytes], dict[str, Any], type[Exception], str]] = [
    ({"bee/7.png": b"no picture"}, {}, InvalidDataset, r"^bee/7\.png: .*"),
    ({"bee/7.jpg": b"no picture"}, {}, InvalidDataset, r"^bee/7\.jpg: no PNG or JPEG picture"),
    ({"bee/7.png": picture()[:45]}, {}, InvalidDataset, r"^bee/7\.png: "),
    ({"bee/7.png": b""}, {}, InvalidDataset, r"^bee/7\.png: "),
    ({"7.png": picture()}, {}, InvalidDataset, r"^7\.png: a picture outside class folders"),
    ({"x/bee/7.png": picture()}, {}, InvalidDataset, r"x/bee/7\.png: 2 folders deep, ant/0\.png 1"),
    ({"x/y/z/7.png": picture()}, {}, InvalidDataset, r"x/y/z/7\.png: (too deep|3 folders deep)"),
    ({"bee/more.zip": b"PK"}, {}, InvalidDataset, r"bee/more\.zip: an archive within the archive"),
    ({"bee/7.gif": b"GIF"}, {}, InvalidDataset, r"bee/7\.gif: neither PNG nor JPEG by its name"),
    ({"bee/rows.npy": b""}, {}, InvalidDataset, r"bee/rows\.npy: neither PNG nor JPEG"),
    ({"bee/7.png": picture(size=(300, 200))}, {}, PictureTooLarge, r"^bee/7\.png: a picture of 300 x 200 pixels"),
    ({}, {"kind": "grouped"}, InvalidDataset, "class folders are of kind labelled, not grouped"),
    ({}, {"split": {"by": "group"}}, InvalidDataset, r"split\.by is group and the rows have no super-class"),
]


@pytest.mark.parametrize(
    ("changes", "spec", "error", "message"), WRONG, ids=[f"{next(iter(w[0]), '')} {w[3]}"[:40] for w in WRONG]
)
def test_what_is_wrong_is_refused_by_its_name(
    changes: dict[str, bytes], spec: dict[str, Any], error: type[Exception], message: str, tmp_path: Path
) -> None:
    with pytest.raises(error, match=message):
        read(zip_of(tmp_path, class_folders(changes)), {**LABELLED, **spec})


def test_too_few_classes_and_no_pictures_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidDataset, match=r"at least 3 classes; there is 1: \['ant'\]"):
        read(zip_of(tmp_path, {"ant/1.png": picture()}), LABELLED)
    with pytest.raises(InvalidDataset, match=r"holds no picture; it is laid out as \[super-class/\]class/picture"):
        read(zip_of(tmp_path, {"README.txt": b"x"}), LABELLED)
    with pytest.raises(InvalidArchive, match="an archive without files"):
        read(zip_of(tmp_path, {"ant/": b""}), LABELLED)


def test_too_many_rows_and_bytes_are_refused_before_pictures_are_opened(tmp_path: Path) -> None:
    path = zip_of(tmp_path, class_folders({"ant/0.png": b"no picture"}))
    with pytest.raises(DatasetTooLarge, match="8 rows; at most 7"):
        read(path, LABELLED, DatasetCaps(7, CAPS.max_bytes, 100, 10))
    with pytest.raises(DatasetTooLarge, match="at 64 x 64 pixels: 32768 bytes once unpacked; at most 32767"):
        read(path, {**LABELLED, "picture_size": 64}, DatasetCaps(8, 32_767, 100, 10))


def test_colour_counts_three_times(tmp_path: Path) -> None:
    path = zip_of(tmp_path, class_folders({"cat/0.png": picture(9, mode="RGB")}))
    with pytest.raises(DatasetTooLarge, match="98304 bytes once unpacked; at most 98303"):
        read(path, {**LABELLED, "picture_size": 64}, DatasetCaps(8, 98_303, 100, 50_000))
