from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from app.datasets.stored import dataset_bytes, dataset_of, describe
from app.task_distributions.dataset import Dataset
from app.trees import to_bytes
from innerloop.wire import DatasetInfo, DatasetSpec
from tests.datasets.uploads import DATA, class_folders, csv_of, csv_text, npz_of, read, table_rows, zip_of

GROUPED = {"kind": "grouped", "targets": "y", "group": "who"}
LABELLED = {"kind": "labelled", "split": {"by": "class", "fractions": [0.5, 0.25, 0.25], "seed": 3}}


def data_sets(folder: Path) -> dict[str, tuple[Dataset, dict[str, Any]]]:
    table = csv_of(folder, csv_text(table_rows()))
    names = csv_of(folder, csv_text(table_rows(y=["ja", "nö", "vielleicht"] * 4)), "names.csv")
    arrays = npz_of(folder, inputs=np.ones((12, 3)), targets=np.arange(12) % 6)
    folders = zip_of(folder, class_folders())
    cases: list[tuple[str, Path, dict[str, Any]]] = [
        ("table", table, GROUPED),
        ("names", names, GROUPED),
        ("arrays", arrays, LABELLED),
    ]
    cases += [("folders", folders, LABELLED), ("omniglot", DATA / "omniglot_excerpt.zip", {"kind": "labelled"})]
    return {name: (read(path, spec), spec) for name, path, spec in cases}


@pytest.mark.parametrize("name", ["table", "names", "arrays", "folders", "omniglot"])
def test_bytes_give_back_the_very_data_set_and_are_the_same_each_time(name: str, tmp_path: Path) -> None:
    dataset, _ = data_sets(tmp_path)[name]
    data = dataset_bytes(dataset)
    found = dataset_of(data)
    for field in Dataset._fields:
        one, other = getattr(dataset, field), getattr(found, field)
        if isinstance(one, torch.Tensor):
            assert one.dtype == other.dtype
            assert torch.equal(one, other)
        else:
            assert one == other
            assert type(one) is type(other)
    assert dataset_bytes(found) == dataset_bytes(data_sets(tmp_path)[name][0]) == data


@pytest.mark.parametrize("data", [b"", b"no safetensors", to_bytes({"inputs": torch.zeros(1)})])
def test_bytes_of_something_else_are_refused(data: bytes) -> None:
    with pytest.raises(ValueError, match=r"not a safetensors file|hold no data set"):
        dataset_of(data)


EXPECTED: dict[str, dict[str, Any]] = {
    "table": {
        "kind": "grouped",
        "rows": 12,
        "classes": None,
        "groups": 4,
        "input": {"kind": "vector", "shape": [2]},
        "output": {"kind": "regression", "shape": [1]},
        "input_names": ["a", "b"],
        "target_names": ["y"],
        "split": {
            "by": "group",
            "fractions": [0.7, 0.15, 0.15],
            "seed": 0,
            "train": 2,
            "validation": 1,
            "test": 1,
        },
    },
    "folders": {
        "kind": "labelled",
        "rows": 8,
        "classes": 4,
        "groups": None,
        "input": {"kind": "image", "shape": [1, 28, 28]},
        "output": {"kind": "classification", "shape": [4]},
        "input_names": None,
        "target_names": None,
        "split": {"by": "class", "fractions": [0.5, 0.25, 0.25], "seed": 3, "train": 2, "validation": 1, "test": 1},
    },
}


@pytest.mark.parametrize("name", sorted(EXPECTED))
def test_description_is_what_the_wire_shows(name: str, tmp_path: Path) -> None:
    dataset, spec = data_sets(tmp_path)[name]
    found = describe(dataset, DatasetSpec.model_validate({"name": "mine", **spec}))
    assert found == EXPECTED[name]
    rest = {"name": "mine", "bytes": 1, "sha256": "0", "created_at": "2026-01-01T00:00:00Z"}
    assert DatasetInfo.model_validate({**found, **rest}).rows == len(dataset.inputs)


def test_description_counts_super_classes(tmp_path: Path) -> None:
    dataset, spec = data_sets(tmp_path)["omniglot"]
    found = describe(dataset, DatasetSpec.model_validate({"name": "mine", **spec}))
    assert (found["classes"], found["groups"]) == (30, 5)
