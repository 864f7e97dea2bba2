import json
from pathlib import Path

import pytest
import typer

from app.commands.requests import datasets_from
from tests.datasets.uploads import DATA, class_folders, csv_of, csv_text, picture, table_rows, zip_of

EXCERPT = DATA / "omniglot_excerpt.zip"


def test_class_folders_in_folders_are_split_by_super_class() -> None:
    datasets, paths = datasets_from([f"omniglot={EXCERPT}"])
    assert paths == {"omniglot": EXCERPT}
    held_out = {datasets["omniglot"].class_names[n].split("/")[0] for n in datasets["omniglot"].split["test"]}
    assert held_out == {"Hebrew"}


def test_class_folders_alone_are_split_by_class(tmp_path: Path) -> None:
    datasets, _ = datasets_from([f"animals={zip_of(tmp_path, class_folders())}"])
    assert {part: len(classes) for part, classes in datasets["animals"].split.items()} == {
        "train": 2,
        "validation": 1,
        "test": 1,
    }


def test_spec_beside_a_table_says_what_it_holds(tmp_path: Path) -> None:
    path = csv_of(tmp_path, csv_text(table_rows()), "visits.csv")
    spec = {"kind": "grouped", "targets": "y", "group": "who"}
    (tmp_path / "visits.csv.spec.json").write_text(json.dumps(spec))
    datasets, _ = datasets_from([f"patients={path}", f"omniglot={EXCERPT}"])
    assert datasets["patients"].group_names == ("anna", "ben", "cléo", "dora")
    assert set(datasets) == {"patients", "omniglot"}


def test_a_shipped_spec_is_taken_by_the_name_of_the_data_set() -> None:
    datasets, _ = datasets_from([f"intents={DATA / 'clinc150_excerpt.npz'}"])
    intents = datasets["intents"]
    assert intents.inputs.shape == (60, 384)
    assert intents.class_names[:3] == ("account_blocked", "balance", "accept_reservations")
    domains = {part: {intents.class_names[n] for n in members} for part, members in intents.split.items()}
    assert domains == {
        "train": {"calendar", "calendar_update"},
        "validation": {"accept_reservations", "calories"},
        "test": {"account_blocked", "balance"},
    }


def test_a_spec_beside_the_file_goes_before_the_shipped_one(tmp_path: Path) -> None:
    path = tmp_path / "sentences.npz"
    path.write_bytes((DATA / "clinc150_excerpt.npz").read_bytes())
    spec = {"kind": "labelled", "inputs": "embeddings", "targets": "domains", "group": "intents"}
    (tmp_path / "sentences.npz.spec.json").write_text(json.dumps({**spec, "split": {"by": "class"}}))
    assert datasets_from([f"intents={path}"])[0]["intents"].class_names == ("banking", "kitchen_and_dining", "home")


def test_spec_beside_class_folders_holds(tmp_path: Path) -> None:
    path = zip_of(tmp_path, class_folders())
    (tmp_path / "pictures.zip.spec.json").write_text(json.dumps({"kind": "labelled", "picture_size": 9}))
    assert datasets_from([f"animals={path}"])[0]["animals"].inputs.shape == (8, 1, 9, 9)


def test_what_cannot_be_read_is_a_usage_error_that_says_why(tmp_path: Path) -> None:
    table = csv_of(tmp_path, csv_text(table_rows()), "visits.csv")
    broken = zip_of(tmp_path, class_folders({"ant/0.png": b"no"}), "broken.zip")
    for assignment, message in (
        ("omniglot", "is not of the form name=path with an existing file"),
        (f"omniglot={tmp_path / 'nowhere.zip'}", "existing file"),
        (f"patients={table}", r"needs a JSON file visits\.csv\.spec\.json beside it, or patients\.spec\.json"),
        (f"../requests/intents={table}", r"visits\.csv\.spec\.json beside it"),
        (f"animals={broken}", r"ant/0\.png"),
        (f"two words={zip_of(tmp_path, {'a/1.png': picture()})}", "name"),
    ):
        with pytest.raises(typer.BadParameter, match=message):
            datasets_from([assignment])
    (tmp_path / "visits.csv.spec.json").write_text('{"kind": "grupped"}')
    with pytest.raises(typer.BadParameter, match=r"visits\.csv\.spec\.json: kind"):
        datasets_from([f"patients={table}"])
