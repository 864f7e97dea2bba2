"""An initialisation that somebody sends: one safetensors file with its card, checked and never executed."""

import math

from app.card import ANY_WAYS, Card
from app.jobs.model_files import ModelFiles, model_of, unpacked
from app.learners.losses import LOSSES
from app.learners.model import Model
from app.networks.network import leaf_kinds
from app.networks.registry import build_network
from app.safetensors_header import declared_header
from app.trees import all_finite, from_bytes
from innerloop.errors import BodyTooLarge, InvalidWeights, NotSafetensors
from innerloop.wire import Limits

SIDES = {"vector": 1, "image": 3, "text": 1}
MAX_HEADER_BYTES = 4 * 1024 * 1024
"""Of the names, shapes and card of a model: tens of thousands of leaves. A network of a hundred layers has 30 KB."""


def uploaded_model(data: bytes, name: str, limits: Limits) -> ModelFiles:
    """Return a model that can be served under `name`.

    Raises BodyTooLarge for a header that is, before it is parsed, NotSafetensors, and InvalidWeights for a card that is
    none or does not go with the weights.
    """
    header_bytes = len(declared_header(data))
    if header_bytes > MAX_HEADER_BYTES:
        raise BodyTooLarge(f"the header with the card has {header_bytes} bytes; at most {MAX_HEADER_BYTES} are taken")
    try:
        from_bytes(data)
    except ValueError as error:
        raise NotSafetensors(f"the body is {error}") from error
    try:
        files = unpacked(data, name)
        _check_kinds(files.card)
        _check_sizes(files.card, limits)
        model = model_of(files)
        _check_steps(model, limits)
        _check_ways(model)
    except (ValueError, RuntimeError, OverflowError) as error:  # torch's own errors on shapes that cannot be
        raise InvalidWeights(f"the file is no model that can be served: {error}") from error
    for tree in model.meta:
        if not all_finite({leaf_name: leaf for leaf_name, leaf in tree.items() if leaf.is_floating_point()}):
            raise InvalidWeights("the file holds a number that is NaN or infinite")
    return files


def _check_kinds(card: Card) -> None:
    """Refuse names that are none, and a loss of other targets."""
    for field, part in (("learner", card.learner), ("network", card.network)):
        if not isinstance(part.get("kind"), str):
            raise ValueError(f"its card: {field}.kind is no string")
    if card.loss in LOSSES and LOSSES[card.loss].output_kind != card.output.kind:
        raise ValueError(f"its card: loss {card.loss!r} does not fit {card.output.kind} targets")
    if card.output.kind == "classification" and card.output.shape[0] != ANY_WAYS and card.output.shape[0] < 2:
        raise ValueError(f"its card: a classification into {card.output.shape[0]} classes; at least 2 are expected")


def _check_sizes(card: Card, limits: Limits) -> None:
    """Refuse a network that is too large before any of its leaves is thought of."""
    shape = card.input.shape
    if len(shape) != SIDES[card.input.kind] or min(shape) < 1 or card.num_outputs < 1:
        raise ValueError(f"a {card.input.kind} of shape {list(shape)} with {card.output.shape[0]} outputs cannot be")
    if card.output.kind == "classification" and card.output.shape[0] > limits.max_classes:
        raise ValueError(f"{card.output.shape[0]} classes; at most {limits.max_classes} (max_classes in GET /limits)")
    cap = limits.max_network_parameters
    if math.prod(shape) > cap or card.output.shape[0] > cap or not 0 <= card.num_train_classes <= cap:
        raise ValueError(f"a shape of its card is over {cap} numbers (max_network_parameters in GET /limits)")
    network = build_network(card.network, shape, card.num_outputs)
    if card.input.polarity != network.polarity:
        raise ValueError(f"its card: input.polarity is not {network.polarity!r}, as its network has it")
    if card.input.encoder != network.encoder or (card.input.kind == "text") != (network.encoder is not None):
        raise ValueError(f"its card: input.encoder is not {network.encoder!r}, as its network has it, or kind not text")
    size = sum(math.prod(leaf) for leaf, _ in leaf_kinds(network.init).values())
    if size > cap:
        raise ValueError(f"its network has {size} numbers; at most {cap} (max_network_parameters in GET /limits)")


def _check_ways(model: Model) -> None:
    """Refuse any number of classes where the initialisation has a row a class, and any output of -1 but classes."""
    if model.card.output.shape[0] == ANY_WAYS and not model.learner.traits.any_ways:
        raise ValueError(f"its card: output.shape is [{ANY_WAYS}], but its learner has an output of fixed length")


def _check_steps(model: Model, limits: Limits) -> None:
    card, traits = model.card, model.learner.traits
    if not traits.takes_steps:
        if card.default_steps is not None or card.max_steps is not None:
            raise ValueError("its learner takes no steps; default_steps and max_steps of its card are null")
        return
    most = traits.steps if traits.learned_rates else limits.max_steps
    if card.max_steps is None or card.default_steps is None or not 0 <= card.default_steps <= card.max_steps <= most:
        raise ValueError(
            f"its card has default_steps {card.default_steps} and max_steps {card.max_steps}; "
            f"0 <= default_steps <= max_steps <= {most} is expected"
        )
