"""The table of learners that the contract suite runs over: a new learner is one more row of `VARIANTS`."""

import functools
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import pytest
import torch

from app.episode import Episode, MetaParams
from app.learners.learner import Learner
from app.learners.registry import build_learner
from app.networks.registry import build_network
from tests.learners.answers import STEPS, task_of
from tests.learners.toys import NUM_TRAIN_CLASSES, TOYS, WAYS, Toy

TASKS = 3


class Variant(NamedTuple):
    """A learner with its options, and what it promises beyond the contract."""

    name: str
    options: Mapping[str, Any]
    changes: tuple[str, ...]
    """How the names of leaves begin that adaptation may change."""
    gradient: Literal["exact", "first_order"] = "exact"
    """`exact`: the meta-gradient is that of the meta-loss."""
    only_classes: bool = False


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

    @functools.cache  # noqa: B019 -- cases live as long as the run; building with checked shapes takes 15 ms
    def learner(self, num_outputs: int | None = None, **changes: Any) -> Learner:
        network = build_network(self.toy.network, self.toy.input_shape, num_outputs or self.toy.num_outputs)
        return build_learner({**self.variant.options, **changes}, network, self.toy.loss, NUM_TRAIN_CLASSES)

    def meta(self, seed: int = 0) -> MetaParams:
        return self.learner().init(torch.Generator().manual_seed(seed))

    def episodes(self, num_tasks: int = TASKS, ways: int = WAYS, seed: int = 1) -> Episode:
        return self.toy.sample(torch.Generator().manual_seed(seed), num_tasks, ways)

    def episode(self, ways: int = WAYS, seed: int = 1) -> Episode:
        return task_of(self.episodes(1, ways, seed), 0)


COMMON = {"steps": STEPS, "learning_rate": 0.1}
HEAD_RATE = {"learning_rate": 0.5}  # a head alone takes, and needs, longer steps
CLASS_MEANS = {"head": "class_means", "learning_rate": 0.01}  # its logits are steeper than those of a fresh head
ALL, HEAD = ("body.", "head."), ("head.",)


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


VARIANTS = (
    *_gradient_variants({"kind": "maml", **COMMON}, ALL),
    *_gradient_variants({"kind": "anil", **COMMON, **HEAD_RATE}, HEAD),
    Variant("pretrained", {"kind": "pretrained", **COMMON}, ALL),
    Variant("pretrained-class-means", {"kind": "pretrained", **COMMON, **CLASS_MEANS}, ALL, only_classes=True),
)

CASES = [
    Case(variant, toy) for variant in VARIANTS for toy in TOYS if toy.loss != "squared" or not variant.only_classes
]
CLASSIFIERS = [case for case in CASES if case.classifies]

every_case = pytest.mark.parametrize("case", CASES, ids=str)
every_classifier = pytest.mark.parametrize("case", CLASSIFIERS, ids=str)
