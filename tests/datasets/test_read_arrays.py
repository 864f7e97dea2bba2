import io
import struct
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from safetensors.torch import save_file

from app.datasets.caps import DatasetCaps
from innerloop.errors import DatasetTooLarge, InvalidArchive, InvalidDataset, NotSafetensors
from tests.datasets.uploads import CAPS, npz_of, read, zip_of

GROUPED, LABELLED = {"kind": "grouped"}, {"kind": "labelled"}
Array = npt.NDArray[Any]


def rows(**changes: Array | None) -> dict[str, Array]:
    """Return twelve rows of four groups; `changes` replace arrays, None leaves one out."""
    arrays: dict[str, Array] = {
        "inputs": np.arange(24, dtype=np.float64).reshape(12, 2),
        "targets": np.linspace(0, 1, 12, dtype=np.float32),
        "groups": np.arange(12) % 4 + 10,
    }
    wanted: dict[str, Array | None] = {**arrays, **changes}
    return {name: array for name, array in wanted.items() if array is not None}


def file_of(folder: Path, form: str, arrays: Mapping[str, Array]) -> Path:
    if form == "npz":
        return npz_of(folder, **arrays)
    save_file({name: torch.from_numpy(array) for name, array in arrays.items()}, folder / "rows.safetensors")
    return folder / "rows.safetensors"


FORMS = ("npz", "safetensors")


@pytest.mark.parametrize("form", FORMS)
def test_rows_and_groups_are_as_in_the_file(form: str, tmp_path: Path) -> None:
    found = read(file_of(tmp_path, form, rows()), GROUPED)
    torch.testing.assert_close(found.inputs, torch.arange(24.0).view(12, 2))
    torch.testing.assert_close(found.targets, torch.linspace(0, 1, 12)[:, None])
    assert found.groups.tolist() == [0, 1, 2, 3] * 3
    assert found.group_names == ("10", "11", "12", "13")
    assert (found.output_kind, found.input_names, found.class_names) == ("regression", (), ())


@pytest.mark.parametrize("form", FORMS)
def test_arrays_may_have_other_names_and_the_rest_is_left_alone(form: str, tmp_path: Path) -> None:
    arrays = {"x": rows()["inputs"], "y": rows()["targets"], "who": rows()["groups"], "more": np.zeros(3)}
    found = read(file_of(tmp_path, form, arrays), {**GROUPED, "inputs": "x", "targets": ["y"], "group": "who"})
    assert found.inputs.shape == (12, 2)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("dtype", [np.bool_, np.uint8, np.int16, np.int64, np.float16, np.float64], ids=str)
def test_all_real_numbers_are_inputs(form: str, dtype: type[np.generic], tmp_path: Path) -> None:
    numbers = (np.arange(24) % 2).reshape(12, 2).astype(dtype)
    found = read(file_of(tmp_path, form, rows(inputs=numbers)), GROUPED)
    assert found.inputs.dtype == torch.float32
    assert found.inputs.tolist() == [[0.0, 1.0]] * 12


def test_half_precision_of_another_kind_is_taken(tmp_path: Path) -> None:
    tensors = {name: torch.from_numpy(array) for name, array in rows().items()}
    save_file({**tensors, "inputs": torch.ones(12, 2, dtype=torch.bfloat16)}, tmp_path / "rows.safetensors")
    assert read(tmp_path / "rows.safetensors", GROUPED).inputs.tolist() == [[1.0, 1.0]] * 12


@pytest.mark.parametrize("shape", [(12,), (12, 3), (12, 3, 2)])
def test_inputs_may_have_any_shape(shape: tuple[int, ...], tmp_path: Path) -> None:
    found = read(npz_of(tmp_path, **rows(inputs=np.ones(shape))), GROUPED)
    assert tuple(found.inputs.shape) == (shape if len(shape) > 1 else (12, 1))


def test_other_layouts_of_memory_are_the_same_numbers(tmp_path: Path) -> None:
    turned = np.asfortranarray(rows()["inputs"].astype(">f4"))
    assert torch.equal(read(npz_of(tmp_path, **rows(inputs=turned)), GROUPED).inputs, torch.arange(24.0).view(12, 2))


@pytest.mark.parametrize("form", FORMS)
def test_four_dimensions_of_bytes_are_pictures(form: str, tmp_path: Path) -> None:
    pictures = np.random.default_rng(0).integers(0, 256, (12, 3, 5, 6), dtype=np.uint8)
    found = read(file_of(tmp_path, form, rows(inputs=pictures, targets=np.arange(12) % 6)), LABELLED)
    assert found.inputs.dtype == torch.uint8
    assert torch.equal(found.inputs, torch.from_numpy(pictures))


@pytest.mark.parametrize(
    ("targets", "names"),
    [
        (np.array(["no", "sí", "no", "maybe"] * 3), ("no", "sí", "maybe")),
        (np.array([b"no", b"yes", b"no", b"maybe"] * 3), ("no", "yes", "maybe")),
        (np.array([7, -2, 7, 30] * 3), ("7", "-2", "30")),
        (np.array([[7], [-2], [7], [30]] * 3), ("7", "-2", "30")),
    ],
    ids=["strings", "bytes", "integers", "a column"],
)
def test_classes_are_named_by_their_text_in_order_of_appearance(
    targets: Array, names: tuple[str, ...], tmp_path: Path
) -> None:
    found = read(npz_of(tmp_path, **rows(targets=targets)), LABELLED)
    assert found.class_names == names
    assert found.targets.tolist() == [0, 1, 0, 2] * 3


def test_booleans_of_grouped_rows_are_classes_and_integers_numbers_unless_asked(tmp_path: Path) -> None:
    booleans = read(npz_of(tmp_path, **rows(targets=np.arange(12) % 2 == 0)), GROUPED)
    assert (booleans.output_kind, booleans.class_names) == ("classification", ("true", "false"))
    path = npz_of(tmp_path, **rows(targets=np.arange(12) % 3))
    assert read(path, GROUPED).output_kind == "regression"
    assert read(path, {**GROUPED, "output": "classification"}).class_names == ("0", "1", "2")


def test_super_classes_are_never_in_two_splits(tmp_path: Path) -> None:
    path = npz_of(tmp_path, **rows(targets=np.arange(12), groups=np.array(["x", "y", "z"]).repeat(4)))
    found = read(path, {**LABELLED, "split": {"by": "group"}})
    assert sorted(found.split.values()) == [(0, 1, 2, 3), (4, 5, 6, 7), (8, 9, 10, 11)]
    without = npz_of(tmp_path, **rows(targets=np.arange(12), groups=None))
    with pytest.raises(InvalidDataset, match=r"split\.by is group and the rows have no super-class"):
        read(without, {**LABELLED, "split": {"by": "group"}})


NAN = np.where(np.arange(24).reshape(12, 2) == 7, np.nan, 0.0)
WRONG: list[tuple[dict[str, Array | None], dict[str, Any], str]] = [
    ({"inputs": None}, {}, "no array 'inputs', as spec.inputs wants; it holds .*'groups', 'targets'"),
    ({"targets": None}, {}, "no array 'targets'"),
    ({"groups": None}, {}, "no array 'groups', as spec.group wants"),
    ({}, {"inputs": ["inputs", "targets"]}, "spec.inputs: .* name one array, not 2"),
    ({"inputs": NAN}, {}, r"inputs\[3\]\[1\] is nan, not finite"),
    ({"inputs": NAN * 0 + 1e39}, {}, r"inputs\[0\]\[0\] is 1e\+39, not finite or too large for float32"),
    ({"targets": np.full(12, np.inf)}, {}, r"targets\[0\] is inf"),
    ({"targets": np.zeros(11)}, {}, "targets has 11 rows, inputs has 12|inputs has 12 rows, targets has 11"),
    ({"groups": np.zeros(13, dtype=np.int64)}, {}, "groups has 13 rows"),
    ({"inputs": np.zeros((12, 0))}, {}, r"inputs has shape \[12, 0\]"),
    ({"inputs": np.zeros(())}, {}, "inputs is a single number"),
    ({"groups": np.zeros(12)}, {}, "groups is of type (float64|F64); strings, integers or booleans are taken"),
    ({"groups": np.zeros((12, 2), dtype=np.int64)}, {}, r"groups has shape \[12, 2\]"),
    ({"groups": np.zeros(12, dtype=np.int64)}, {}, r"at least 3 groups; there is 1: \['0'\]"),
    ({"targets": np.zeros((12, 2, 2))}, {}, r"targets has shape \[12, 2, 2\]; targets are"),
    ({}, {"kind": "labelled"}, "targets is of type (float32|F32); classes are strings"),
    ({}, {"output": "classification"}, "targets is of type (float32|F32); classes are strings"),
    ({"inputs": np.zeros((12, 2, 4, 4))}, {}, "with 1 or 3 channels"),
    ({"inputs": np.zeros((12, 1, 300, 4), dtype=np.uint8)}, {}, "at most 256 pixels a side"),
    ({"inputs": np.full((12, 1, 4, 4), 255.0)}, {}, "holds 255 to 255; pictures are uint8, or numbers in 0..1"),
    ({name: array[:0] for name, array in rows().items()}, {}, "has no rows"),
]
WRONG_NPZ: list[tuple[dict[str, Array | None], dict[str, Any], str]] = [
    ({"inputs": np.zeros((12, 2), dtype=np.complex64)}, {}, "inputs is of type complex64; numbers are taken"),
    ({"inputs": np.array(["1"] * 12)}, {}, "inputs is of type <U1; numbers are taken"),
    ({"targets": np.array(["1"] * 12)}, {"output": "regression"}, "targets is of type <U1; numbers are taken"),
    ({"inputs": np.zeros(12, dtype="datetime64[s]")}, {}, "inputs is of type datetime64"),
    ({"groups": np.array(["a", "b", "", "c"] * 3)}, {}, r"groups\[2\] is empty"),
    ({"groups": np.array([b"a", b"b", b"\xff", b"c"] * 3)}, {}, r"groups\[2\] is no text in UTF-8"),
    ({"inputs": np.array([None] * 12)}, {}, r"inputs\.npy holds Python objects, which are pickled and not taken"),
]


@pytest.mark.parametrize(
    ("form", "changes", "spec", "message"),
    [(form, *case) for case in WRONG for form in FORMS] + [("npz", *case) for case in WRONG_NPZ],
    ids=lambda value: value[:40] if isinstance(value, str) else "",
)
def test_what_is_wrong_is_refused_with_its_place(
    form: str, changes: dict[str, Array | None], spec: dict[str, Any], message: str, tmp_path: Path
) -> None:
    with pytest.raises(InvalidDataset, match=message):
        read(file_of(tmp_path, form, rows(**changes)), {**GROUPED, **spec})


def test_complex_tensors_are_refused(tmp_path: Path) -> None:
    tensors = {name: torch.from_numpy(array) for name, array in rows().items()}
    save_file({**tensors, "inputs": torch.ones(12, 2, dtype=torch.complex64)}, tmp_path / "rows.safetensors")
    with pytest.raises(InvalidDataset, match="inputs is of type C64; numbers are taken"):
        read(tmp_path / "rows.safetensors", GROUPED)


@pytest.mark.parametrize("form", FORMS)
def test_too_many_rows_and_bytes_are_refused_before_they_are_read(form: str, tmp_path: Path) -> None:
    path = file_of(tmp_path, form, rows(inputs=np.zeros((12, 100), dtype=np.int8)))
    with pytest.raises(DatasetTooLarge, match="12 rows; at most 11"):
        read(path, GROUPED, DatasetCaps(11, CAPS.max_bytes, 10, 10))
    with pytest.raises(DatasetTooLarge, match="4944 bytes once unpacked; at most 4000"):
        read(path, GROUPED, DatasetCaps(12, 4000, 10, 10))


def test_header_that_promises_more_than_there_is_takes_no_memory(tmp_path: Path) -> None:
    """Within the caps by its zip entry, and a terabyte by its own header."""
    for shape, wanted in ((10**9, DatasetTooLarge), (10**4, InvalidDataset)):
        members = {f"{name}.npy": header_alone((shape,)) for name in rows()}
        caps = DatasetCaps(10**10, CAPS.max_bytes, 10, 10)
        with pytest.raises(wanted, match=r"bytes once unpacked|is cut off|not the"):
            read(zip_of(tmp_path, members, "rows.npz"), GROUPED, caps)


def header_alone(shape: tuple[int, ...]) -> bytes:
    file = io.BytesIO()
    np.lib.format.write_array_header_1_0(file, {"descr": "<i8", "fortran_order": False, "shape": shape})
    return file.getvalue()


def test_bomb_of_zeros_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "rows.npz"
    np.savez_compressed(path, **rows(inputs=np.zeros((12, 2_000_000), dtype=np.uint8)))  # type: ignore[arg-type]
    assert path.stat().st_size < 100_000
    with pytest.raises(DatasetTooLarge, match="bytes once unpacked; at most 8388608"):
        read(path, GROUPED)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("kept", [0.3, 0.9])
def test_file_that_was_cut_off_is_refused(form: str, kept: float, tmp_path: Path) -> None:
    path = file_of(tmp_path, form, rows())
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * kept)])
    with pytest.raises((InvalidArchive, NotSafetensors), match="damaged one"):
        read(path, GROUPED)


def test_array_with_damaged_bytes_is_refused_by_name(tmp_path: Path) -> None:
    path = npz_of(tmp_path, **rows())
    data = bytearray(path.read_bytes())
    data[data.index(b"inputs.npy") + 200] ^= 0xFF
    path.write_bytes(data)
    with pytest.raises((InvalidArchive, InvalidDataset), match=r"inputs\.npy"):
        read(path, GROUPED)


def test_npy_file_that_is_none_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(InvalidDataset, match=r"inputs\.npy is no array as numpy writes it"):
        read(zip_of(tmp_path, {"inputs.npy": b"no array"}, "rows.npz"), GROUPED)


HEADER = "{'descr': '%s', 'fortran_order': False, 'shape': %s}"
HOSTILE_HEADERS = {
    "brackets that stay open": "{'descr': (((",
    "a string that stays open": "{'descr': '''",
    "nine thousand signs": "-" * 9000 + "1",
    "nine thousand brackets": "(" * 9000,
    "an expression": "{'descr': '<f4', 'fortran_order': False, 'shape': (12, 10**3)}",
    "a length beyond 64 bits": HEADER % ("<f4", f"(12, 0, {10**30})"),
    "a truth as a length": HEADER % ("<f4", "(12, True)"),
    "too many dimensions": HEADER % ("<f4", f"(12, {'1, ' * 70})"),
    "strings of no length": HEADER % ("<U0", "(12,)"),
    "bytes of no length": HEADER % ("|S0", "(12,)"),
    "characters that are none": HEADER % ("<U1", "(12,)"),
    "characters the other way round that are none": HEADER % (">U1", "(12,)"),
}


@pytest.mark.parametrize("header", HOSTILE_HEADERS.values(), ids=HOSTILE_HEADERS.keys())
def test_hostile_npy_header_is_refused_by_name(header: str, tmp_path: Path) -> None:
    data = b"\x93NUMPY\1\0" + struct.pack("<H", len(header) + 1) + header.encode() + b"\n" + b"\x7f" * 48
    labels = np.arange(12) % 4
    path = npz_of(tmp_path, inputs=np.zeros((12, 2), dtype=np.float32), groups=labels)
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("targets.npy", data)
    with pytest.raises(InvalidDataset, match=r"targets\.npy") as refused:
        read(path, {**GROUPED, "output": "classification"})
    assert " at 0x" not in refused.value.detail


@pytest.mark.parametrize("data", [b"\x93NUMPY\x01\x00v\x00", b"\x1f\x8b\x08\x00", b"\x00\x01\x02\x03" * 9, b""])
def test_bytes_of_no_known_form_are_refused_with_the_known_ones(data: bytes, tmp_path: Path) -> None:
    path = tmp_path / "rows.bin"
    path.write_bytes(data)
    with pytest.raises(InvalidDataset, match=r"is none of npz, safetensors, CSV, Parquet|rows\.bin is empty"):
        read(path, GROUPED)


def test_form_is_told_by_the_bytes_and_not_by_the_name(tmp_path: Path) -> None:
    for form in FORMS:
        path = file_of(tmp_path, form, rows()).rename(tmp_path / f"{form}.dat")
        assert len(read(path, GROUPED).inputs) == 12
    assert zipfile.is_zipfile(tmp_path / "npz.dat")
