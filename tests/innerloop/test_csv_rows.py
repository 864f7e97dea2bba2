"""Claims about reading rows from CSV."""

from collections.abc import Sequence
from pathlib import Path

import pytest

from innerloop.csv_rows import read_csv_inputs, read_csv_support
from innerloop.errors import UnreadableFile


def write(folder: Path, text: str | bytes) -> Path:
    path = folder / "a.csv"
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return path


SUPPORT: dict[str, tuple[str, str | None, Sequence[list[float] | str], Sequence[float | str]]] = {
    "no header": ("1,2,0.5\n3,4,-1\n", None, [[1, 2], [3, 4]], [0.5, -1]),
    "header": ("x,y,out\n1,2,0.5\n", None, [[1, 2]], [0.5]),
    "class names": ("1.5,cat\n2e3,dog\n", None, [[1.5], [2000.0]], ["cat", "dog"]),
    "header above class names": ("x,kind\n1,cat\n2,dog\n", None, [[1], [2]], ["cat", "dog"]),
    "header of numbers, named target": ("0,1,out\n1,2,3\n", "out", [[1, 2]], [3]),
    "named target": ("out,x\n5,1\n6,2\n", "out", [[1], [2]], [5, 6]),
    "numbers among names": ("1,7\n2,cat\n", None, [[1], [2]], ["7", "cat"]),
    "blank lines, mark, quotes": ('\ufeffx,kind\r\n\r\n1,"a, b"\r\n', None, [[1]], ["a, b"]),
    "sentences": ('text,intent\n"hi, you",greet\n7,number\n', None, ["hi, you", "7"], ["greet", "number"]),
    "sentences behind the target": ("intent,text,x\ngreet,hi,1\n", "intent", ["hi"], ["greet"]),
    "sentences with numbers as targets": ("text,stars\nfine,4\n", None, ["fine"], [4]),
    "text as target": ("x,text\n1,yes\n", "text", [[1]], ["yes"]),
    "spaces": ("1, 2\n", None, [[1]], [2]),
}


@pytest.mark.parametrize(("text", "target", "inputs", "targets"), SUPPORT.values(), ids=SUPPORT)
def test_support_is_columns_of_numbers_and_a_target(
    tmp_path: Path,
    text: str,
    target: str | None,
    inputs: Sequence[list[float] | str],
    targets: Sequence[float | str],
) -> None:
    assert read_csv_support(write(tmp_path, text), target) == (inputs, targets)


def test_whole_numbers_stay_integers_so_that_they_can_be_classes(tmp_path: Path) -> None:
    _, targets = read_csv_support(write(tmp_path, "0.5,3\n1,-1\n"), None)
    assert [type(target) for target in targets] == [int, int]


@pytest.mark.parametrize("text", ["1,2\n3,4\n", "x,y\n1,2\n3,4\n", "x,out,y\n1,cat,2\n3,dog,4\n"])
def test_inputs_are_all_columns_but_the_target(tmp_path: Path, text: str) -> None:
    assert read_csv_inputs(write(tmp_path, text), "out") == [[1, 2], [3, 4]]


@pytest.mark.parametrize("text", ["text\nhi\n3\n", "intent,text\ngreet,hi\nnumber,3\n"])
def test_inputs_of_text_are_the_column_of_that_name(tmp_path: Path, text: str) -> None:
    assert read_csv_inputs(write(tmp_path, text), None) == ["hi", "3"]


BROKEN: dict[str, tuple[str | bytes, str | None, str]] = {
    "no number": ("1,2,3\n1,two,3\n", None, r"a\.csv, line 2: 'two' is not a finite number"),
    "no number in the first line": ("1,two,3\n1,2,3\n", None, r"line 1: 'two' is not"),
    "empty cell": ("x,y,out\n1,,3\n", None, r"line 2: '' is not"),
    "underscore": ("1,1_0,3\n", None, r"line 1: '1_0' is not"),
    "nan": ("1,nan,3\n", None, r"line 1: 'nan' is not a finite number"),
    "infinite target": ("1,2\n\n1,1e999\n", None, r"line 3: '1e999' is not a finite number"),
    "no target": ("1,cat\n2, \n", None, r"line 2 has no target"),
    "header or row": (
        "0,1,out\n1,2,3\n",
        None,
        r"line 1 may be a header or a row: 'out' stands above numbers",
    ),
    "uneven": ("1,2\n1,2,3\n", None, r"line 2 has 3 columns; the first line has 2"),
    "one column": ("1\n2\n", None, r"line 1: one column"),
    "header alone": ("x,out\n", "out", r"a\.csv has a header and no rows"),
    "no such column": ("x,out\n1,2\n", "target", r"line 1: no column 'target'; there are x, out"),
    "empty": ("\n\n", None, r"a\.csv is empty"),
    "sentences alone": ("text\nhi\n", None, r"line 1: one column; the targets stand in a column beside the sentences"),
    "empty sentence": ("text,out\nhi,a\n ,b\n", None, r"line 3 has no text"),
    "sentences without rows": ("text,out\n", None, r"a\.csv has a header and no rows"),
    "sentences without a name": ("hi,greet\nbye,leave\n", None, r"line 2: 'bye' is not .* in a column called 'text'"),
    "open quote": ('1,"cat\n', None, r"a\.csv is not CSV in UTF-8"),
    "not UTF-8": (b"1,\xff\n", None, r"a\.csv is not CSV in UTF-8"),
}


@pytest.mark.parametrize(("text", "target", "message"), BROKEN.values(), ids=BROKEN)
def test_broken_file_is_named_with_its_line(
    tmp_path: Path, text: str | bytes, target: str | None, message: str
) -> None:
    with pytest.raises(UnreadableFile, match=message):
        read_csv_support(write(tmp_path, text), target)


@pytest.mark.parametrize(
    ("text", "message"), [("x\n", "a header and no rows"), ("", "is empty"), ("1\nb\n", "line 2: 'b' is not")]
)
def test_broken_inputs_are_named_with_their_line(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(UnreadableFile, match=message):
        read_csv_inputs(write(tmp_path, text), None)
