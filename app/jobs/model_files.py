"""Models as pairs of files: `<name>.safetensors` with the weights and `<name>.json` with the card."""

from pathlib import Path
from typing import NamedTuple

from pydantic import ValidationError

from app.card import Card
from app.episode import MetaParams
from app.learners.model import Model, as_tree, from_tree, learner_of
from app.networks.network import leaf_kinds
from app.trees import from_bytes, to_bytes


class ModelFiles(NamedTuple):
    """A model as it is kept: its card and the bytes of its weights."""

    card: Card
    weights: bytes


def write_model(folder: Path, card: Card, meta: MetaParams) -> Path:
    """Write both files, whole or not at all each, and return the path of the weights."""
    folder.mkdir(parents=True, exist_ok=True)
    weights = folder / f"{card.name}.safetensors"
    _replace(weights, to_bytes(as_tree(meta)))
    write_card(folder, card)
    return weights


def write_card(folder: Path, card: Card) -> None:
    """Write the card of a model."""
    _replace(folder / f"{card.name}.json", (card.model_dump_json(indent=2) + "\n").encode())


def read_model_files(weights: Path) -> ModelFiles:
    """Return the card beside the file `weights` and its bytes; ValueError, with the path, when one is not right."""
    card_path = weights.with_suffix(".json")
    try:
        return ModelFiles(Card.model_validate_json(card_path.read_bytes()), weights.read_bytes())
    except FileNotFoundError as error:
        raise ValueError(f"{error.filename} is missing") from error
    except ValidationError as error:
        raise ValueError(f"{card_path} is no card: {error}") from error


def model_of(files: ModelFiles) -> Model:
    """Return the learner and its initialisation; ValueError when weights and card do not go together."""
    learner = learner_of(files.card)
    tree = from_bytes(files.weights)
    expected = leaf_kinds(lambda generator: as_tree(learner.init(generator)))
    found = {name: (tuple(leaf.shape), leaf.dtype) for name, leaf in tree.items()}
    if found != expected:
        names = sorted(name for name in expected.keys() | found.keys() if expected.get(name) != found.get(name))
        raise ValueError(f"the weights of {files.card.name} do not fit its card: {', '.join(names[:5])}")
    return Model(files.card, learner, from_tree(tree))


def shipped_models(folder: Path) -> list[ModelFiles]:
    """Return every model of a folder, by name; ValueError when there is no such folder."""
    if not folder.is_dir():
        raise ValueError(f"there is no folder {folder} to take models from (MODELS_DIR)")
    return [read_model_files(path) for path in sorted(folder.glob("*.safetensors"))]


def _replace(path: Path, data: bytes) -> None:
    partial = path.with_name(path.name + ".partial")
    partial.write_bytes(data)
    partial.replace(path)
