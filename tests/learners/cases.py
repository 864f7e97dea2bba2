"""The table of learners that the contract suite runs over: a new learner is one more row of `VARIANTS`."""

import functools
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import pytest
import torch

from app.episode import Episode, MetaParams
from app.learners.calibration import with_temperature
from app.learners.learner import Learner
from app.learners.losses import LOSSES
from app.learners.registry import build_learner
from app.learners.scaling import with_scaling
from app.networks.registry import build_network
from tests.learners.answers import STEPS, task_of
from tests.learners.toys import NUM_TRAIN_CLASSES, TOYS, WAYS, Toy

TASKS = 3


class Variant(NamedTuple):
    """A learner with its options, and what it promises beyond the contract.

    The first variant of a kind is the one that is tried on the toys that are not for all.
    """

    name: str
    options: Mapping[str, Any]
    changes: tuple[str, ...]
    """How the names of leaves begin that adaptation may change."""
    gradient: Literal["exact", "first_order", "surrogate"] = "exact"
    """`exact`: the meta-gradient is that of the meta-loss. `surrogate`: the meta-loss holds something constant."""
    adapts_in_training: bool = True
    """Whether the meta-loss is that of adapted parameters."""
    only_classes: bool = False
    only_squared: bool = False
    solves: bool = False
    """Whether a leaf is solved for from those that moved."""
    has_first_order: bool = True
    """Whether it goes with the option `first_order`."""


@dataclass(frozen=True, eq=False)
class Case:
    """A learner on a toy world; equal only to itself, so that what it builds can be kept."""

    variant: Variant
    toy: Toy

    def __str__(self) -> str:
        return f"{self.variant.name}-{self.toy.name}"

    @property
    def classifies(self) -> bool:
        return self.learner().traits.output_kind == "classification"

    @property
    def changes(self) -> tuple[str, ...]:
        """How the names of leaves begin that adaptation may change, with what else is found of the support."""
        network = build_network(self.toy.network, self.toy.input_shape, self.toy.num_outputs)
        norms, temperatures = network.statistics is not None, self.toy.calibrated
        return (*self.variant.changes, *(("norm.",) if norms else ()), *(("calibration.",) if temperatures else ()))

    @functools.cache  # noqa: B019 -- cases live as long as the run; building with checked shapes takes 15 ms
    def learner(self, num_outputs: int | None = None, **changes: Any) -> Learner:
        network = build_network(self.toy.network, self.toy.input_shape, num_outputs or self.toy.num_outputs)
        learner = build_learner({**self.variant.options, **changes}, network, self.toy.loss, NUM_TRAIN_CLASSES)
        learner = learner if self.toy.scaling is None else with_scaling(learner, self.toy.scaling)
        return with_temperature(learner) if self.toy.calibrated else learner

    def meta(self, seed: int = 0) -> MetaParams:
        return self.learner().init(torch.Generator().manual_seed(seed))

    def episodes(self, num_tasks: int = TASKS, ways: int = WAYS, seed: int = 1) -> Episode:
        return self.toy.sample(torch.Generator().manual_seed(seed), num_tasks, ways)

    def episode(self, ways: int = WAYS, seed: int = 1) -> Episode:
        return task_of(self.episodes(1, ways, seed), 0)


COMMON = {"steps": STEPS, "learning_rate": 0.1}
HEAD_RATE = {"learning_rate": 0.5}  # a head alone takes, and needs, longer steps
CLASS_MEANS = {"head": "class_means", "learning_rate": 0.01}  # its logits are steeper than those of a fresh head
LEARNED_ROWS = {"row_weights": "learned"}
ALL, HEAD, BODY = ("body.", "head."), ("head.",), ("body.",)


def _gradient_variants(options: Mapping[str, Any], changes: tuple[str, ...]) -> list[Variant]:
    """Return the rows that MAML and its relatives share."""
    kind = options["kind"]
    return [
        Variant(kind, options, changes),
        Variant(f"{kind}-first-order", {**options, "first_order": True}, changes, "first_order"),
        Variant(f"{kind}-learned-rates", {**options, "rates": "per_tensor"}, changes),
        Variant(
            f"{kind}-class-means",
            {**options, **CLASS_MEANS, "rates": "per_tensor"},
            changes,
            only_classes=True,
        ),
        Variant(
            f"{kind}-class-means-first-order",
            {**options, **CLASS_MEANS, "first_order": True},
            changes,
            "first_order",
            only_classes=True,
        ),
    ]


def _class_means(kind: str, **options: Any) -> Variant:
    """Return the row of a kind whose head starts from class means."""
    return Variant(f"{kind}-class-means", {"kind": kind, **COMMON, **CLASS_MEANS, **options}, ALL, only_classes=True)


ANNEALED = {"multi_step_share": 1.0, "first_order_share": 0.25}  # all steps weigh at the middle of training
VARIANTS = (
    *_gradient_variants({"kind": "maml", **COMMON}, ALL),
    *_gradient_variants({"kind": "anil", **COMMON, **HEAD_RATE}, HEAD),
    Variant(
        "anil-fitted-intercept",
        {"kind": "anil", **COMMON, **HEAD_RATE, "head": "fitted_intercept", "normalised": True},
        HEAD,
        only_squared=True,
        solves=True,
    ),
    Variant(
        "maml-fitted-intercept",
        {"kind": "maml", **COMMON, "head": "fitted_intercept", "rates": "per_step"},
        ALL,
        only_squared=True,
        solves=True,
    ),
    Variant("boil", {"kind": "boil", **COMMON}, BODY),
    Variant("boil-first-order", {"kind": "boil", **COMMON, "first_order": True}, BODY, "first_order"),
    Variant("boil-learned-rates", {"kind": "boil", **COMMON, "rates": "per_step"}, BODY),
    Variant("fomaml", {"kind": "fomaml", **COMMON}, ALL, "first_order"),
    Variant("meta_sgd", {"kind": "meta_sgd", **COMMON}, ALL),
    _class_means("meta_sgd"),
    Variant("mamlpp", {"kind": "mamlpp", **COMMON, **ANNEALED}, ALL),
    _class_means("mamlpp", **ANNEALED),
    Variant("reptile", {"kind": "reptile", **COMMON, "learning_rate": 0.05, "minibatches": 2}, ALL, "surrogate"),
    Variant("pretrained", {"kind": "pretrained", **COMMON}, ALL, adapts_in_training=False),
    Variant(
        "pretrained-class-means",
        {"kind": "pretrained", **COMMON, **CLASS_MEANS},
        ALL,
        adapts_in_training=False,
        only_classes=True,
    ),
    Variant("protomaml", {"kind": "protomaml", **COMMON, "learning_rate": 0.01}, ALL, only_classes=True),
    Variant("unicorn", {"kind": "unicorn", **COMMON, "learning_rate": 0.2}, ALL, only_classes=True),
    Variant(
        "unicorn-first-order",
        {"kind": "unicorn", **COMMON, "learning_rate": 0.2, "first_order": True},
        ALL,
        "first_order",
        only_classes=True,
    ),
    Variant(
        "meta_sgd-shared",
        {"kind": "meta_sgd", **COMMON, "learning_rate": 0.2, "head": "shared"},
        ALL,
        only_classes=True,
    ),
    Variant("anil-shared", {"kind": "anil", **COMMON, **HEAD_RATE, "head": "shared"}, HEAD, only_classes=True),
    Variant("maml-balanced-rows", {"kind": "maml", **COMMON, "row_weights": "balanced"}, ALL, only_classes=True),
    Variant("maml-learned-rows", {"kind": "maml", **COMMON, **LEARNED_ROWS}, ALL, has_first_order=False),
    Variant("boil-learned-rows", {"kind": "boil", **COMMON, **LEARNED_ROWS}, BODY, has_first_order=False),
    Variant(
        "protomaml-learned-rows",
        {"kind": "protomaml", **COMMON, "learning_rate": 0.01, **LEARNED_ROWS},
        ALL,
        only_classes=True,
    ),
    Variant(
        "anil-learned-rows-first-order",
        {"kind": "anil", **COMMON, **CLASS_MEANS, **LEARNED_ROWS, "first_order": True},
        HEAD,
        "first_order",
        only_classes=True,
    ),
    Variant("prototypical", {"kind": "prototypical"}, HEAD, only_classes=True),
    Variant(
        "prototypical-pairs",
        {"kind": "prototypical", "objective": "pairs"},
        HEAD,
        adapts_in_training=False,
        only_classes=True,
    ),
    Variant("ridge", {"kind": "ridge"}, HEAD),
    Variant("kernel", {"kind": "kernel"}, ("support.",)),
    Variant(
        "kernel-pairs",
        {"kind": "kernel", "objective": "pairs"},
        ("support.",),
        adapts_in_training=False,
        only_classes=True,
    ),
    Variant("matching", {"kind": "matching"}, ("support.",), only_classes=True),
    Variant("mann", {"kind": "mann", "hidden": 32, "slots": 12, "width": 16}, ("state.",)),
    Variant("mann-heads", {"kind": "mann", "hidden": 32, "slots": 20, "width": 8, "reads": 2}, ("state.",)),
)


def _goes_with(variant: Variant, toy: Toy) -> bool:
    """Tell whether a variant is tried on a toy."""
    is_first = variant == next(other for other in VARIANTS if other.options["kind"] == variant.options["kind"])
    for_classes = LOSSES[toy.loss].output_kind == "classification"
    fits = (for_classes or not variant.only_classes) and (toy.loss == "squared" or not variant.only_squared)
    return (toy.for_all or is_first) and fits


CASES = [Case(variant, toy) for variant in VARIANTS for toy in TOYS if _goes_with(variant, toy)]
CLASSIFIERS = [case for case in CASES if case.classifies]

every_case = pytest.mark.parametrize("case", CASES, ids=str)
every_classifier = pytest.mark.parametrize("case", CLASSIFIERS, ids=str)
