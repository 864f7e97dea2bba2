"""Learners by kind: a new one is a file beside this and a line here."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from pydantic import BaseModel

from app.learners.anil import AnilOptions, anil
from app.learners.boil import BoilOptions, boil
from app.learners.fomaml import FomamlOptions, fomaml
from app.learners.kernel import KernelOptions, kernel
from app.learners.learner import Learner
from app.learners.losses import LOSSES, Loss
from app.learners.maml import MamlOptions, maml
from app.learners.mamlpp import MamlppOptions, mamlpp
from app.learners.mann import MannOptions, mann
from app.learners.matching import MatchingOptions, matching
from app.learners.meta_sgd import MetaSgdOptions, meta_sgd
from app.learners.pretrained import PretrainedOptions, pretrained
from app.learners.protomaml import ProtomamlOptions, protomaml
from app.learners.prototypical import PrototypicalOptions, prototypical
from app.learners.reptile import ReptileOptions, reptile
from app.learners.ridge import RidgeOptions, ridge
from app.learners.support_statistics import with_support_statistics
from app.learners.unicorn import UnicornOptions, unicorn
from app.networks.network import Network


class LearnerKind(NamedTuple):
    """What a kind takes and how it is built: (options, network, loss, classes of the training split)."""

    options: type[BaseModel]
    build: Callable[[Any, Network, Loss, int], Learner]


LEARNERS: Mapping[str, LearnerKind] = {
    "maml": LearnerKind(MamlOptions, maml),
    "fomaml": LearnerKind(FomamlOptions, fomaml),
    "reptile": LearnerKind(ReptileOptions, reptile),
    "meta_sgd": LearnerKind(MetaSgdOptions, meta_sgd),
    "mamlpp": LearnerKind(MamlppOptions, mamlpp),
    "anil": LearnerKind(AnilOptions, anil),
    "boil": LearnerKind(BoilOptions, boil),
    "protomaml": LearnerKind(ProtomamlOptions, protomaml),
    "unicorn": LearnerKind(UnicornOptions, unicorn),
    "pretrained": LearnerKind(PretrainedOptions, pretrained),
    "matching": LearnerKind(MatchingOptions, matching),
    "mann": LearnerKind(MannOptions, mann),
    "prototypical": LearnerKind(PrototypicalOptions, prototypical),
    "ridge": LearnerKind(RidgeOptions, ridge),
    "kernel": LearnerKind(KernelOptions, kernel),
}


def build_learner(options: Mapping[str, Any], network: Network, loss: str, num_train_classes: int) -> Learner:
    """Return the learner that `options` (with its `kind`) names.

    Raises ValueError for an unknown kind or loss or one that does not fit the targets, and pydantic's
    ValidationError (a ValueError) for options that the kind does not have.
    """
    kind = options.get("kind", "")
    if kind not in LEARNERS:
        raise ValueError(f"learner kind {kind!r} is not one of {sorted(LEARNERS)}")
    if loss not in LOSSES:
        raise ValueError(f"loss {loss!r} is not one of {sorted(LOSSES)}")
    entry = LEARNERS[kind]
    learner = entry.build(entry.options.model_validate(options), network, LOSSES[loss], num_train_classes)
    return with_support_statistics(learner, network)
