from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
import torch
from pyarrow import csv as pa_csv
from pyarrow import parquet

from app.datasets.caps import DatasetCaps
from app.task_distributions.registry import build_distribution
from innerloop.errors import DatasetTooLarge, InvalidDataset
from tests.datasets.uploads import CAPS, DATA, GROUPED, LABELLED, csv_of, csv_text, read, table_rows

FORMS = ("csv", "parquet")


def table_of(folder: Path, form: str, columns: dict[str, list[Any]]) -> Path:
    if form == "csv":
        return csv_of(folder, csv_text({k: ["" if v is None else v for v in vs] for k, vs in columns.items()}))
    parquet.write_table(pa.table(columns), folder / "rows.parquet", row_group_size=5)
    return folder / "rows.parquet"


@pytest.mark.parametrize("form", FORMS)
def test_rows_keep_the_order_of_the_file(form: str, tmp_path: Path) -> None:
    found = read(table_of(tmp_path, form, table_rows()), GROUPED)
    torch.testing.assert_close(found.inputs, torch.tensor([[i / 4, i * i] for i in range(12)]))
    torch.testing.assert_close(found.targets, torch.arange(12.0)[:, None] - 3.5)
    assert found.groups.tolist() == [0, 1, 2, 3] * 3
    assert found.group_names == ("anna", "ben", "cléo", "dora")
    assert (found.input_names, found.target_names) == (("a", "b"), ("y",))
    assert (found.kind, found.output_kind, found.class_names) == ("grouped", "regression", ())
    assert sorted(i for part in found.split.values() for i in part) == [0, 1, 2, 3]


@pytest.mark.parametrize("form", FORMS)
def test_inputs_are_the_named_columns_in_the_named_order_and_targets_may_be_several(form: str, tmp_path: Path) -> None:
    spec = {**GROUPED, "inputs": ["b"], "targets": ["y", "a"]}
    found = read(table_of(tmp_path, form, table_rows()), spec)
    assert found.inputs[:, 0].tolist() == [i * i for i in range(12)]
    assert found.targets.tolist() == [[i - 3.5, i / 4] for i in range(12)]


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(
    ("targets", "names"),
    [
        (["no", "yes", "maybe"] * 4, ("no", "yes", "maybe")),
        ([True, False] * 6, ("true", "false")),
    ],
    ids=["strings", "booleans"],
)
def test_strings_and_booleans_are_classes_by_first_appearance(
    form: str, targets: list[Any], names: tuple[str, ...], tmp_path: Path
) -> None:
    found = read(table_of(tmp_path, form, table_rows(y=targets)), GROUPED)
    assert found.output_kind == "classification"
    assert tuple(name.lower() for name in found.class_names) == names
    assert found.targets.tolist() == [i % len(names) for i in range(12)]


@pytest.mark.parametrize("form", FORMS)
def test_integers_are_numbers_unless_classes_are_asked_for(form: str, tmp_path: Path) -> None:
    path = table_of(tmp_path, form, table_rows(y=[3, 1, 2] * 4))
    assert read(path, GROUPED).output_kind == "regression"
    assert read(path, {**GROUPED, "output": "classification"}).class_names == ("3", "1", "2")


@pytest.mark.parametrize("form", FORMS)
def test_booleans_are_numbers_as_inputs(form: str, tmp_path: Path) -> None:
    found = read(table_of(tmp_path, form, table_rows(a=[True, False] * 6)), GROUPED)
    assert found.inputs[:, 0].tolist() == [1.0, 0.0] * 6


@pytest.mark.parametrize("form", FORMS)
def test_labelled_rows_are_split_by_class_or_by_super_class(form: str, tmp_path: Path) -> None:
    columns = table_rows(y=["p", "q", "r", "s", "t", "u"] * 2, who=["x", "x", "y", "y", "z", "z"] * 2)
    path = table_of(tmp_path, form, columns)
    by_class = read(path, {**LABELLED, "inputs": ["a", "b"]})
    assert sorted(i for part in by_class.split.values() for i in part) == [0, 1, 2, 3, 4, 5]
    assert by_class.group_names == ()
    by_group = read(path, {**LABELLED, "group": "who", "split": {"by": "group"}})
    assert sorted(by_group.split.values()) == [(0, 1), (2, 3), (4, 5)]


def test_classes_of_two_super_classes_are_refused_by_name(tmp_path: Path) -> None:
    path = table_of(tmp_path, "csv", table_rows(y=["p", "q", "r"] * 4))
    with pytest.raises(InvalidDataset, match="class 'p' has rows of two super-classes"):
        read(path, {**LABELLED, "group": "who", "split": {"by": "group"}})


WRONG = [
    (table_rows(a=[1.0, None, *range(10)]), {}, "column 'a', row 2 is empty"),
    (table_rows(y=[1.0] * 11 + [None]), {"output": "regression"}, "column 'y', row 12 is empty"),
    (table_rows(who=["a", "b", None, "d"] * 3), {}, "column 'who', row 3 is empty"),
    (table_rows(y=["x", None, "z"] * 4), {"output": "classification"}, "column 'y', row 2 is empty"),
    (table_rows(a=[*range(6), float("nan"), *range(5)]), {}, "column 'a', row 7 is 'nan', not finite"),
    (table_rows(a=[*range(6), float("inf"), *range(5)]), {}, "column 'a', row 7 is 'inf', not finite"),
    (table_rows(a=[*range(6), 1e300, *range(5)]), {}, r"column 'a', row 7 is '1e\+300', not finite or too large"),
    (table_rows(y=[float("-inf"), *range(11)]), {}, "column 'y', row 1 is '-inf', not finite"),
    (table_rows(), {"targets": "z"}, "spec.targets: .* has no column 'z'; it has the columns 'a', 'b', 'who', 'y'"),
    (table_rows(), {"inputs": ["a", "c"]}, "spec.inputs: .* has no column 'c'"),
    (table_rows(), {"group": "patient"}, "spec.group: .* has no column 'patient'"),
    (table_rows(), {"inputs": ["a", "y"]}, "column 'y' is in spec.inputs and spec.targets"),
    (table_rows(), {"inputs": ["a", "a"]}, "column 'a' is in spec.inputs and spec.inputs"),
    (table_rows(), {"targets": None}, "spec.targets names no column; .* 'a', 'b', 'who', 'y'"),
    (table_rows(), {"group": None}, "spec.group names no column"),
    (table_rows(), {"targets": ["y", "a", "b"]}, "has no column for inputs"),
    (table_rows(who=["anna"] * 12), {}, r"at least 3 groups; there is 1: \['anna'\]"),
    (table_rows(), {"output": "classification"}, "holds numbers with a fraction|is of type double"),
    (table_rows(), {"kind": "labelled"}, "holds numbers with a fraction|is of type double"),
    (table_rows(), {"output": "classification", "targets": ["y", "a"]}, "classes are in one column; 2 are named"),
    ({name: [] for name in table_rows()}, {}, "has no rows|is of type null"),
    (table_rows(a=["1", "2", "three"] * 4), {}, "'three'; a number is expected|row 1 is text, '1'"),
    (table_rows(y=["1", "2", "three"] * 4), {"output": "regression"}, "'three'; a number is expected|row 1 is text"),
]


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(("columns", "changes", "message"), WRONG, ids=[message[:45] for _, _, message in WRONG])
def test_what_is_wrong_is_refused_with_its_place(
    form: str, columns: dict[str, list[Any]], changes: dict[str, Any], message: str, tmp_path: Path
) -> None:
    with pytest.raises(InvalidDataset, match=message):
        read(table_of(tmp_path, form, columns), {**GROUPED, **changes})


def test_text_among_numbers_is_refused_with_column_and_row(tmp_path: Path) -> None:
    path = csv_of(tmp_path, csv_text(table_rows(b=[*range(7), "n/a", *range(4)])))
    with pytest.raises(InvalidDataset, match=r"rows\.csv, column 'b', row 8 is 'n/a'; a number is expected"):
        read(path, GROUPED)


def test_targets_of_numbers_and_text_are_refused_with_a_row_of_each(tmp_path: Path) -> None:
    path = csv_of(tmp_path, csv_text(table_rows(y=["1.5", "2", "high", "3"] * 3)))
    with pytest.raises(InvalidDataset, match="column 'y': row 1 is a number and row 3 is none"):
        read(path, GROUPED)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a,b,a,who,y\n1,2,3,x,4\n", "two columns 'a'"),
        ("a,,who,y\n1,2,x,4\n", "column 2 has no name"),
        ("a,who,y\n1,x,2\n3,y\n", "not CSV in UTF-8: .*Expected 3 columns, got 2"),
        ("", "is empty"),
        ("\n\n", "is empty"),
        ('a,who,y\n"1,x,2\n', "not CSV|no rows|cells"),
    ],
)
def test_file_that_is_no_table_is_refused(text: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(InvalidDataset, match=message):
        read(csv_of(tmp_path, text), GROUPED)


def test_text_that_is_not_utf_8_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    path.write_bytes(csv_text(table_rows()).encode("latin-1"))
    with pytest.raises(InvalidDataset, match="not CSV in UTF-8"):
        read(path, GROUPED)


def test_byte_order_mark_and_carriage_returns_and_quotes_are_taken(tmp_path: Path) -> None:
    text = "\ufeff" + csv_text(table_rows(who=['"a, b"', "ben", '"two\nlines"', "dora"] * 3)).replace("\n", "\r\n")
    found = read(csv_of(tmp_path, text), GROUPED)
    assert found.input_names == ("a", "b")
    assert found.group_names[0] == "a, b"
    assert len(found.inputs) == 12


@pytest.mark.parametrize("form", FORMS)
def test_too_many_rows_and_bytes_are_refused(form: str, tmp_path: Path) -> None:
    path = table_of(tmp_path, form, table_rows())
    with pytest.raises(DatasetTooLarge, match="12 rows; at most 11"):
        read(path, GROUPED, DatasetCaps(11, CAPS.max_bytes, 10, 10))
    with pytest.raises(DatasetTooLarge, match="bytes once unpacked; at most 100"):
        read(path, GROUPED, DatasetCaps(CAPS.max_rows, 100, 10, 10))


def test_parquet_that_unpacks_to_far_more_is_refused_by_its_footer(tmp_path: Path) -> None:
    path = tmp_path / "rows.parquet"
    columns = table_rows(a=["x" * 100_000 + str(i) for i in range(400)])
    repeated = {name: (column * 40)[:400] for name, column in columns.items()}
    parquet.write_table(pa.table(repeated), path, compression="zstd", use_dictionary=False)
    assert path.stat().st_size < 1 << 20
    with pytest.raises(DatasetTooLarge, match="bytes once unpacked"):
        read(path, GROUPED)


def test_parquet_whose_strings_have_no_bound_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "rows.parquet"
    encoding = {"who": "DELTA_BYTE_ARRAY"}
    parquet.write_table(pa.table(table_rows()), path, use_dictionary=False, column_encoding=encoding)
    with pytest.raises(InvalidDataset, match="column 'who': encoded as DELTA_BYTE_ARRAY"):
        read(path, GROUPED)


@pytest.mark.parametrize("kept", [3, 200])
def test_parquet_that_was_cut_off_is_refused(kept: int, tmp_path: Path) -> None:
    path = table_of(tmp_path, "parquet", table_rows())
    path.write_bytes(path.read_bytes()[:kept])
    with pytest.raises(InvalidDataset, match="no Parquet file, or a damaged one"):
        read(path, GROUPED)


def test_parquet_types_that_are_no_numbers_are_refused(tmp_path: Path) -> None:
    parquet.write_table(pa.table(table_rows(a=[[1.0, 2.0]] * 12)), tmp_path / "rows.parquet")
    with pytest.raises(InvalidDataset, match="column 'a' is of type list"):
        read(tmp_path / "rows.parquet", GROUPED)


@pytest.mark.parametrize("numbers", [pa.int8(), pa.uint64(), pa.float16(), pa.float32(), pa.decimal128(10, 2)], ids=str)
def test_all_number_types_of_parquet_are_taken(numbers: pa.DataType, tmp_path: Path) -> None:
    values = pa.array([float(i) for i in range(12)]).cast(numbers)
    parquet.write_table(pa.table({**table_rows(), "a": values}), tmp_path / "rows.parquet")
    assert read(tmp_path / "rows.parquet", GROUPED).inputs[:, 0].tolist() == list(range(12))


def test_large_csv_is_read_in_blocks(tmp_path: Path) -> None:
    """More rows than a block of pyarrow holds, so that names and rows go on over blocks."""
    num = 60_000
    rows = "\n".join(f"{i},{'x' * 90}{i % 7},{i % 5}.5" for i in range(num))
    found = read(csv_of(tmp_path, "a,who,y\n" + rows), GROUPED)
    assert torch.equal(found.inputs[:, 0], torch.arange(float(num)))
    assert torch.equal(found.groups, torch.arange(num) % 7)
    with pytest.raises(InvalidDataset, match=f"column 'a', row {num + 1} is 'oops'"):
        read(csv_of(tmp_path, "a,who,y\n" + rows + "\noops,x,1\n"), GROUPED)


def test_patients_become_tasks_whose_support_comes_first_in_time(tmp_path: Path) -> None:
    """Recordings of a patient are not in the order of time in the original: who wants that order sorts by it."""
    rows = pa_csv.read_csv(DATA / "parkinsons_excerpt.csv").sort_by(
        [("subject#", "ascending"), ("test_time", "ascending")]
    )
    parquet.write_table(rows, tmp_path / "patients.parquet")
    spec = {"kind": "grouped", "targets": "total_UPDRS", "group": "subject#", "split": {"fractions": [0.6, 0.2, 0.2]}}
    found = read(tmp_path / "patients.parquet", {**spec, "inputs": ["age", "sex", "test_time", "Jitter(%)"]})
    assert found.inputs.shape == (150, 4)
    assert [len(found.split[part]) for part in ("train", "validation", "test")] == [3, 1, 1]
    tasks = {"kind": "grouped", "dataset": "patients", "shots": 5, "queries": 10, "order": "first"}
    drawn = build_distribution(tasks, "test", {"patients": found}).sample(torch.Generator(), 3)
    time_ = drawn.support.inputs[..., 2]
    assert (time_.diff(dim=1) >= 0).all()
    assert (drawn.query.inputs[..., 2].min(dim=1).values >= time_.max(dim=1).values).all()
