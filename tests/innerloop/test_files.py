"""Claims about reading rows from JSON, npz and folders of pictures."""

import io
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from innerloop.errors import UnreadableFile
from innerloop.files import STDIN, Support, read_inputs, read_support


def write(path: Path, content: str | bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def archive(path: Path, **arrays: Any) -> Path:
    np.savez(path, allow_pickle=True, **arrays)
    return path


def test_json_support_is_an_object(tmp_path: Path) -> None:
    path = write(tmp_path / "a.json", '{"inputs": [[1]], "targets": ["cat"]}')
    assert read_support(path) == Support([[1]], ["cat"])


@pytest.mark.parametrize("text", ["[[1], [2]]", '{"inputs": [[1], [2]]}', '{"inputs": [[1], [2]], "targets": 0}'])
def test_json_inputs_are_a_list_or_an_object(tmp_path: Path, text: str) -> None:
    assert read_inputs([write(tmp_path / "a.JSON", text)]) == [[1], [2]]


def test_dash_reads_json_from_stdin(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"[[1], [2]]")))
    assert read_inputs([STDIN]) == [[1], [2]]


def test_npz_holds_inputs_and_targets(tmp_path: Path) -> None:
    path = archive(tmp_path / "a.npz", inputs=[[1.0], [2.0]], targets=["cat", "dog"])
    support = read_support(path)
    assert np.array_equal(support.inputs, [[1.0], [2.0]])
    assert list(support.targets) == ["cat", "dog"]
    assert np.array_equal(read_inputs([path]), [[1.0], [2.0]])


def test_class_names_in_bytes_are_read_as_text(tmp_path: Path) -> None:
    path = archive(tmp_path / "a.npz", inputs=[[1.0]], targets=np.array([b"k\xc3\xa4fer"]))
    assert list(read_support(path).targets) == ["käfer"]


def test_folder_names_are_the_classes_of_their_pictures(tmp_path: Path) -> None:
    for name in ("cat/1.png", "cat/2.JPG", "dog/1.jpeg", "dog/notes.txt", "dog/._1.jpeg", ".git/1.png"):
        write(tmp_path / name, b"")
    inputs, targets = read_support(tmp_path)
    assert list(inputs) == [tmp_path / name for name in ("cat/1.png", "cat/2.JPG", "dog/1.jpeg")]
    assert targets == ["cat", "cat", "dog"]


def test_pictures_are_inputs_one_by_one_or_by_their_folder(tmp_path: Path) -> None:
    pictures = [write(tmp_path / name, b"") for name in ("a.png", "b.jpg")]
    assert read_inputs(pictures) == pictures
    assert read_inputs([tmp_path]) == pictures


def damaged(path: Path) -> Path:
    """Change bytes of the arrays, and leave the directory at the end of the file whole."""
    content = bytearray(path.read_bytes())
    content[200:220] = bytes(20)
    path.write_bytes(content)
    return path


def zip_of_texts(folder: Path) -> Path:
    with zipfile.ZipFile(folder / "a.npz", "w") as file:
        for name in ("inputs", "targets"):
            file.writestr(name, "1 2 3")
    return folder / "a.npz"


BROKEN_SUPPORT: dict[str, tuple[Callable[[Path], Path], str]] = {
    "missing": (lambda folder: folder / "gone.json", r"there is no .*gone\.json"),
    "missing, unknown kind": (lambda folder: folder / "gone.txt", r"there is no .*gone\.txt"),
    "unknown kind": (lambda folder: write(folder / "a.txt", "1"), r"a\.txt is none of \.json, \.csv"),
    "not JSON": (lambda folder: write(folder / "a.json", '{\n"inputs": [1,]}'), r"a\.json, line 2: not JSON"),
    "JSON not in UTF-8": (lambda folder: write(folder / "a.json", b'["\xff"]'), r"a\.json is not JSON"),
    "JSON too deep": (lambda folder: write(folder / "a.json", "[" * 100_000), r"a\.json is not JSON"),
    "JSON without targets": (lambda folder: write(folder / "a.json", '{"inputs": []}'), r'is not {"inputs"'),
    "JSON list": (lambda folder: write(folder / "a.json", "[[1, 2]]"), r'is not {"inputs"'),
    "not npz": (lambda folder: write(folder / "a.npz", "inputs"), r"a\.npz is no npz file"),
    "empty npz": (lambda folder: write(folder / "a.npz", ""), r"a\.npz is no npz file"),
    "missing npz": (lambda folder: folder / "gone.npz", r"there is no .*gone\.npz"),
    "cut npz": (
        lambda folder: write(folder / "a.npz", b"PK\x03\x04 and no more"),
        r"a\.npz is no npz file, or a damaged one",
    ),
    "damaged npz": (
        lambda folder: damaged(archive(folder / "a.npz", inputs=[[1.0]] * 99, targets=[1] * 99)),
        r"a\.npz is a damaged npz file",
    ),
    "zip of no arrays": (zip_of_texts, r"a\.npz: inputs is no array"),
    "one picture": (lambda folder: write(folder / "cat.png", b"\x89PNG"), r"cat\.png is one picture; give the folder"),
    "npz without targets": (
        lambda folder: archive(folder / "a.npz", inputs=[1], labels=[2]),
        r"no array 'targets'; it holds inputs, labels",
    ),
    "npz of objects": (
        lambda folder: archive(folder / "a.npz", inputs=[1], targets=np.array([{}], dtype=object)),
        r"a\.npz: targets holds Python objects",
    ),
    "npz of one value": (
        lambda folder: archive(folder / "a.npz", inputs=[1], targets=2),
        r"targets is a single",
    ),
    "class names not in UTF-8": (
        lambda folder: archive(folder / "a.npz", inputs=[1], targets=np.array([b"\xff"])),
        r"a\.npz: the class names in targets are not UTF-8",
    ),
    "folder without classes": (lambda folder: write(folder / "a" / "1.png", "").parent, "has no folders"),
    "class without pictures": (
        lambda folder: write(folder / "a" / "cat" / "notes.txt", "").parent.parent,
        "cat has no PNG",
    ),
}


@pytest.mark.parametrize(("make", "message"), BROKEN_SUPPORT.values(), ids=BROKEN_SUPPORT)
def test_broken_support_is_named(tmp_path: Path, make: Callable[[Path], Path], message: str) -> None:
    with pytest.raises(UnreadableFile, match=message):
        read_support(make(tmp_path))


def test_npy_named_npz_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.npz"
    with path.open("wb") as file:
        np.save(file, np.zeros(2))
    with pytest.raises(UnreadableFile, match=r"a\.npz is no npz file"):
        read_inputs([path])


def test_several_files_have_to_be_pictures(tmp_path: Path) -> None:
    with pytest.raises(UnreadableFile, match="all of them"):
        read_inputs([write(tmp_path / "a.png", ""), write(tmp_path / "b.json", "[]")])


def test_missing_picture_is_named_among_others(tmp_path: Path) -> None:
    with pytest.raises(UnreadableFile, match=r"there is no .*gone\.png"):
        read_inputs([write(tmp_path / "a.png", ""), tmp_path / "gone.png"])


def test_class_folders_are_no_inputs_and_one_of_them_is(tmp_path: Path) -> None:
    picture = write(tmp_path / "pets" / "cat" / "1.png", "")
    with pytest.raises(UnreadableFile, match=r"pets holds folders and no pictures; .* such as .*cat"):
        read_inputs([tmp_path / "pets"])
    assert read_inputs([picture.parent]) == [picture]


def test_json_inputs_that_are_no_rows_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UnreadableFile, match="neither a list of rows nor"):
        read_inputs([write(tmp_path / "a.json", "3")])
