from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from app.card import ANY_WAYS, Card

MODELS = Path(__file__).parent.parent / "models"
FIELDS: dict[str, Any] = {
    "name": "mine",
    "learner": {"kind": "maml", "steps": 5},
    "network": {"kind": "mlp", "hidden": [40, 40]},
    "loss": "squared",
    "input": {"kind": "vector", "shape": [1]},
    "output": {"kind": "regression", "shape": [1]},
    "num_train_classes": 0,
    "default_steps": 5,
    "max_steps": 100,
}


def card(**changes: Any) -> Card:
    return Card.model_validate({**FIELDS, **changes})


def test_card_survives_json() -> None:
    full = card(provenance={"seed": 0, "data": {"omniglot": "abc"}}, metrics={"test": {"loss": [0.1, None]}})
    assert Card.model_validate_json(full.model_dump_json()) == full


def test_provenance_and_metrics_come_with_the_end_of_a_run() -> None:
    assert card().provenance == {}
    assert card().metrics == {}
    assert card().provenance is not card().provenance


def test_learner_without_steps_has_none() -> None:
    assert card(default_steps=None, max_steps=None).max_steps is None


CLASSES = {"kind": "classification", "shape": [5]}


@pytest.mark.parametrize("of_task", [2, 5, 30])
def test_number_of_classes_is_the_models_unless_it_takes_any(of_task: int) -> None:
    fixed, any_ways = card(output=CLASSES), card(output={**CLASSES, "shape": [ANY_WAYS]})
    assert (fixed.num_outputs, fixed.num_classes(of_task)) == (5, 5)
    assert (any_ways.num_outputs, any_ways.num_classes(of_task)) == (1, of_task)


@pytest.mark.parametrize(("kind", "shape"), [("regression", [3]), ("classification", [5])])
def test_network_is_built_with_the_outputs_of_the_card(kind: str, shape: list[int]) -> None:
    assert card(output={"kind": kind, "shape": shape}).num_outputs == shape[0]


@pytest.mark.parametrize("missing", FIELDS)
def test_missing_field_is_refused(missing: str) -> None:
    with pytest.raises(ValidationError, match=missing):
        Card.model_validate({name: value for name, value in FIELDS.items() if name != missing})


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"unheard_of": 1}, "unheard_of"),
        ({"input": {"kind": "sound", "shape": [1]}}, "input.kind"),
        ({"input": {"kind": "vector", "shape": [1], "unheard_of": 1}}, "input.unheard_of"),
        ({"input": {"kind": "vector", "shape": "1"}}, "input.shape"),
        ({"output": {"kind": "ranking", "shape": [1]}}, "output.kind"),
        ({"output": {"kind": "regression", "shape": [1, 2]}}, "output.shape"),
        ({"output": {"kind": "regression", "shape": []}}, "output.shape"),
        ({"learner": "maml"}, "learner"),
        ({"familiarity": [{"ways": 5, "rows": 0, "loss_by_step": {}}]}, "familiarity.0"),
        ({"familiarity": [{"ways": 5, "rows": 5, "loss_by_step": {"0": [1.0]}}]}, "familiarity.0"),
        ({"familiarity": [{"ways": 5, "rows": 5, "loss_by_step": {"0": [1.0, 0.5]}}]}, "familiarity.0"),
        ({"familiarity": [{"ways": 5, "rows": 5, "loss_by_step": {"0": [1.0, float("inf")]}}]}, "familiarity.0"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_wrong_field_is_refused_by_its_name(changes: dict[str, Any], field: str) -> None:
    with pytest.raises(ValidationError) as caught:
        card(**changes)
    assert {".".join(str(part) for part in error["loc"][:2]) for error in caught.value.errors()} == {field}


def test_card_cannot_be_changed() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        card().name = "yours"  # type: ignore[misc]  # mypy knows as well


@pytest.mark.parametrize("path", sorted(MODELS.glob("*.json")), ids=lambda path: path.name)
def test_shipped_card_is_a_card_named_after_its_file(path: Path) -> None:
    assert Card.model_validate_json(path.read_bytes()).name == path.stem
