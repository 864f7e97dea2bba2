import json
import re
from pathlib import Path
from typing import Any

import pytest
import torch

from app.card import Card, Reference
from app.episode import MetaParams, Tree
from app.jobs.model_files import (
    MAX_CARD_BYTES,
    MAX_CARD_DEPTH,
    NOT_PACKED,
    ModelFiles,
    model_of,
    read_model_files,
    shipped_models,
    unpacked,
    write_card,
    write_model,
)
from app.jobs.plan import planned_run
from app.learners.model import as_tree
from app.trees import from_bytes, metadata_of, to_bytes
from innerloop.wire import Limits, MetaTrainRequest

REQUEST = {
    "name": "mine",
    "learner": {"kind": "maml", "rates": "per_tensor"},
    "network": {"kind": "mlp", "hidden": [4]},
    "tasks": {"kind": "sinusoid"},
}
PLANNED = planned_run(MetaTrainRequest.model_validate(REQUEST), {}, Limits())
CARD = PLANNED.card
META = PLANNED.learner.init(torch.Generator().manual_seed(0))


def written(folder: Path, card: Card = CARD, meta: MetaParams = META) -> Path:
    return write_model(folder, card, meta)


def test_model_survives_writing_and_reading_to_the_bit(tmp_path: Path) -> None:
    model = model_of(read_model_files(written(tmp_path)))
    assert model.card == CARD
    assert as_tree(model.meta).keys() == as_tree(META).keys()
    assert all(torch.equal(leaf, as_tree(META)[name]) for name, leaf in as_tree(model.meta).items())


def test_files_are_named_after_the_model_and_nothing_else_is_left(tmp_path: Path) -> None:
    assert written(tmp_path / "new" / "folder").name == "mine.safetensors"
    assert {path.name for path in (tmp_path / "new" / "folder").iterdir()} == {"mine.safetensors", "mine.json"}


def test_writing_again_replaces_both_files(tmp_path: Path) -> None:
    written(tmp_path)
    other = PLANNED.learner.init(torch.Generator().manual_seed(1))
    files = read_model_files(written(tmp_path, CARD.model_copy(update={"default_steps": 5}), other))
    assert files.card.default_steps == 5
    assert files.weights == to_bytes(as_tree(other))


def test_card_can_be_written_alone(tmp_path: Path) -> None:
    weights = written(tmp_path)
    before = weights.read_bytes()
    write_card(tmp_path, CARD.model_copy(update={"metrics": {"test": 1.5}}))
    assert read_model_files(weights).card.metrics == {"test": 1.5}
    assert weights.read_bytes() == before


def test_list_of_numbers_is_one_line_of_a_card_and_strings_are_left_alone(tmp_path: Path) -> None:
    losses = {"0": (-1.5, 2e-07, 3.0), "1": (0.0, 1.0, 1e26)}
    card = CARD.model_copy(
        update={
            "familiarity": (Reference(ways=None, rows=5, loss_by_step=losses),),
            "provenance": {"said": "[\n  1,\n  2\n]", "empty": [], "lists": [["a", "b"], [1, 2]]},
        }
    )
    weights = written(tmp_path, card)
    text = weights.with_suffix(".json").read_text()
    assert re.search(r'\n +"0": \[-1.5, [-.\de]+, 3.0\],\n', text)
    assert "[1, 2]" in text
    assert read_model_files(weights).card == card


def test_shipped_models_are_those_of_the_folder_by_name(tmp_path: Path) -> None:
    for name in ("b", "c", "a"):
        written(tmp_path, CARD.model_copy(update={"name": name}))
    assert [files.card.name for files in shipped_models(tmp_path)] == ["a", "b", "c"]


def test_a_folder_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="MODELS_DIR"):
        shipped_models(tmp_path / "none")


@pytest.mark.parametrize("missing", ["mine.json", "mine.safetensors"])
def test_missing_file_is_refused_by_name(tmp_path: Path, missing: str) -> None:
    weights = written(tmp_path)
    (tmp_path / missing).unlink()
    with pytest.raises(ValueError, match=f"{missing} is missing"):
        read_model_files(weights)


@pytest.mark.parametrize("damage", [b"", b"{", b"[]", b"{}", b"\xff\xfe", b'{"name": "mine", "owner": "me"}'])
def test_damaged_card_is_refused_by_name(tmp_path: Path, damage: bytes) -> None:
    weights = written(tmp_path)
    weights.with_suffix(".json").write_bytes(damage)
    with pytest.raises(ValueError, match=r"mine\.json is no card"):
        read_model_files(weights)


def test_card_with_one_field_too_many_is_refused(tmp_path: Path) -> None:
    weights = written(tmp_path)
    card = weights.with_suffix(".json")
    card.write_text(card.read_text().replace("{", '{"unheard_of": 1,', 1))
    with pytest.raises(ValueError, match="unheard_of"):
        read_model_files(weights)


@pytest.mark.parametrize("length", [0, 4, 8, 100, -1])
def test_weights_that_were_cut_off_are_refused(tmp_path: Path, length: int) -> None:
    weights = written(tmp_path)
    weights.write_bytes(weights.read_bytes()[:length])
    with pytest.raises(ValueError, match="not a safetensors file"):
        model_of(read_model_files(weights))


def without(tree: Tree, name: str) -> Tree:
    return {other: leaf for other, leaf in tree.items() if other != name}


STORED = as_tree(META)
SOME = "trained.body.0.weight"


@pytest.mark.parametrize(
    "stored",
    [
        {},
        without(STORED, SOME),
        without(STORED, "trained.rate.head.bias"),
        {**STORED, "trained.body.9.weight": torch.zeros(1)},
        {**STORED, "elsewhere": torch.zeros(1)},
        {**STORED, SOME: STORED[SOME][:-1]},
        {**STORED, SOME: STORED[SOME].T.contiguous()},
        {**STORED, SOME: STORED[SOME].to(torch.int64)},
        {**STORED, SOME: STORED[SOME].double()},
        {**without(STORED, SOME), "fixed.body.0.weight": STORED[SOME]},
    ],
    ids=[
        "nothing",
        "a leaf missing",
        "a rate missing",
        "a leaf too many",
        "a leaf of no part",
        "a row missing",
        "turned",
        "integers",
        "double precision",
        "fixed where trained",
    ],
)
def test_weights_of_another_model_are_refused(tmp_path: Path, stored: Tree) -> None:
    weights = written(tmp_path)
    weights.write_bytes(to_bytes(stored))
    with pytest.raises(ValueError, match=r"trained|fixed|elsewhere"):
        model_of(read_model_files(weights))


def test_card_of_an_unknown_learner_is_refused(tmp_path: Path) -> None:
    weights = written(tmp_path, CARD.model_copy(update={"learner": {"kind": "other"}}))
    with pytest.raises(ValueError, match="learner kind 'other'"):
        model_of(read_model_files(weights))


def test_weights_are_a_plain_safetensors_file(tmp_path: Path) -> None:
    assert from_bytes(written(tmp_path).read_bytes()).keys() == STORED.keys()


CARD_OF_ALL = CARD.model_copy(update={"metrics": {"test": 1.5}, "provenance": {"seed": 3}})
FILES = ModelFiles(CARD_OF_ALL, to_bytes(STORED))


def test_one_file_holds_a_model_and_what_serving_it_needs() -> None:
    files = unpacked(FILES.packed(), "other")
    model = model_of(files)
    assert all(torch.equal(leaf, STORED[name]) for name, leaf in as_tree(model.meta).items())
    assert files.card == CARD_OF_ALL.model_copy(update={"name": "other", "metrics": {}, "provenance": {}})


def test_packing_what_was_unpacked_gives_the_same_bytes() -> None:
    packed = FILES.packed()
    assert unpacked(packed, "a").packed() == unpacked(packed, "b").packed() == packed


def test_equal_weights_are_equal_bytes_whoever_trained_them() -> None:
    other = CARD.model_copy(update={"name": "other", "metrics": {"test": 2.0}, "provenance": {"by": "me"}})
    assert ModelFiles(other, FILES.weights).packed() == FILES.packed()
    assert ModelFiles(CARD.model_copy(update={"max_steps": 7}), FILES.weights).packed() != FILES.packed()


def test_packed_file_is_a_plain_safetensors_file_with_a_card() -> None:
    packed = FILES.packed()
    assert from_bytes(packed).keys() == STORED.keys()
    assert json.loads(metadata_of(packed)["card"]).keys() == Card.model_fields.keys() - NOT_PACKED


def test_what_a_card_tells_beside_is_kept_when_it_is_unpacked() -> None:
    told = to_bytes(STORED, {"card": CARD_OF_ALL.model_dump_json()})
    assert unpacked(told, "mine").card == CARD_OF_ALL


def nested(depth: int) -> dict[str, Any]:
    value: dict[str, Any] = {}
    for _ in range(depth):
        value = {"a": value}
    return value


NO_CARDS = {
    "none": (None, "its metadata has no 'card'"),
    "no JSON": ("{", "no JSON object"),
    "list": ("[]", "no object"),
    "null": ("null", "no object"),
    "NaN": ('{"metrics": {"loss": NaN}}', "no JSON object"),
    "too large a number": ('{"metrics": {"loss": 1e999}}', "no JSON object"),
    "half a character": (r'{"provenance": {"by": "\ud800"}}', "no JSON object"),
    "very deep": ("[" * 100_000, "no JSON object"),
    "a field missing": ("{}", "learner"),
    "a field too many": (json.dumps({**CARD.model_dump(mode="json"), "unheard_of": 1}), "unheard_of"),
    "large": (
        json.dumps({**CARD.model_dump(mode="json"), "metrics": {"a": "b" * MAX_CARD_BYTES}}),
        f"at most {MAX_CARD_BYTES}",
    ),
    "deep": (json.dumps({**CARD.model_dump(mode="json"), "metrics": nested(MAX_CARD_DEPTH)}), "deep"),
}


@pytest.mark.parametrize("what", NO_CARDS)
def test_card_in_the_metadata_that_is_none_is_refused(what: str) -> None:
    card, said = NO_CARDS[what]
    data = to_bytes(STORED, {} if card is None else {"card": card})
    with pytest.raises(ValueError, match=said):
        unpacked(data, "mine")


def test_card_that_is_as_large_as_it_may_be_is_taken() -> None:
    told = {**CARD.model_dump(mode="json"), "metrics": {"a": ""}}
    told["metrics"]["a"] = "b" * (MAX_CARD_BYTES - len(json.dumps(told)))
    assert unpacked(to_bytes(STORED, {"card": json.dumps(told)}), "mine").card.metrics == told["metrics"]


def test_card_that_is_as_deep_as_it_may_be_is_taken() -> None:
    card = CARD.model_copy(update={"metrics": nested(MAX_CARD_DEPTH - 1)})
    assert unpacked(to_bytes(STORED, {"card": card.model_dump_json()}), "mine").card.metrics == card.metrics
