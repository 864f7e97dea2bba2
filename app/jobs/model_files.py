"""Models as pairs of files: `<name>.safetensors` with the weights and `<name>.json` with the card."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import orjson
from pydantic import ValidationError

from app.card import Card
from app.episode import MetaParams
from app.learners.model import Model, as_tree, from_tree, learner_of
from app.networks.network import leaf_kinds
from app.trees import from_bytes, metadata_of, to_bytes

CARD = "card"
"""The key of the card in the metadata of a safetensors file."""
NOT_PACKED = {"name", "provenance", "metrics"}
"""What of a card building its learner does not need: without it equal weights are equal bytes, whoever trained them."""


LISTS_OF_NUMBERS = re.compile(r"\[(\n[-+.,\w\s]*)\]")
"""In indented JSON: with a line a quantile, a card would have a thousand. Strings hold no raw line break."""
MAX_CARD_BYTES = 1_000_000
"""Every list of models shows the whole cards. That of a model that was trained here has 20 KB."""
MAX_CARD_DEPTH = 20
"""Objects and lists in each other; metrics take five."""


class ModelFiles(NamedTuple):
    """A model as it is kept: its card and the bytes of its weights."""

    card: Card
    weights: bytes

    @classmethod
    def of(cls, card: Mapping[str, Any], weights: bytes) -> "ModelFiles":
        """Return the pair for a card as JSON; ValueError when it is no card."""
        return cls(Card.model_validate(card), weights)

    def packed(self) -> bytes:
        """Return the weights with what is needed of the card in their metadata: a model in one file."""
        core = self.card.model_dump_json(exclude=NOT_PACKED)
        return to_bytes(from_bytes(self.weights), {CARD: core})


def write_model(folder: Path, card: Card, meta: MetaParams) -> Path:
    """Write both files, whole or not at all each, and return the path of the weights."""
    folder.mkdir(parents=True, exist_ok=True)
    weights = folder / f"{card.name}.safetensors"
    _replace(weights, to_bytes(as_tree(meta)))
    write_card(folder, card)
    return weights


def write_card(folder: Path, card: Card) -> None:
    """Write the card of a model, each list of numbers on one line."""
    text = LISTS_OF_NUMBERS.sub(lambda found: f"[{' '.join(found[1].split())}]", card.model_dump_json(indent=2))
    _replace(folder / f"{card.name}.json", (text + "\n").encode())


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


def unpacked(data: bytes, name: str) -> ModelFiles:
    """Return the model called `name` that a file with its card in the metadata holds; checked by `model_of` alone.

    ValueError when there is no card, or one that is none.
    """
    card = metadata_of(data).get(CARD)
    if card is None:
        raise ValueError(
            f"its metadata has no {CARD!r}; GET /models/{{name}}/versions/{{version}}/weights shows the form"
        )
    try:
        return ModelFiles(Card.model_validate({**_json_object(card), "name": name}), data)
    except ValidationError as error:
        first = error.errors()[0]
        raise ValueError(f"its card: {'.'.join(map(str, first['loc']))}: {first['msg']}") from error


def _json_object(text: str) -> dict[str, Any]:
    """Return what any JSON parser would take and a database can keep; ValueError for the rest.

    orjson refuses NaN, numbers beyond float64 and halves of characters, which Python's own parser lets through.
    """
    if len(text.encode()) > MAX_CARD_BYTES:
        raise ValueError(f"its card has {len(text.encode())} bytes; at most {MAX_CARD_BYTES} are taken")
    try:
        found = orjson.loads(text)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"its card is no JSON object: {error}") from error
    if not isinstance(found, dict):
        raise ValueError("its card is JSON and no object")
    if _is_deeper(found, MAX_CARD_DEPTH):
        raise ValueError(f"its card is nested more than {MAX_CARD_DEPTH} deep")
    return found


def _is_deeper(value: Any, depth: int) -> bool:
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return depth < 0 or any(_is_deeper(part, depth - 1) for part in inner)


def shipped_models(folder: Path) -> list[ModelFiles]:
    """Return every model of a folder, by name; ValueError when there is no such folder."""
    if not folder.is_dir():
        raise ValueError(f"there is no folder {folder} to take models from (MODELS_DIR)")
    return [read_model_files(path) for path in sorted(folder.glob("*.safetensors"))]


def _replace(path: Path, data: bytes) -> None:
    partial = path.with_name(path.name + ".partial")
    partial.write_bytes(data)
    partial.replace(path)
