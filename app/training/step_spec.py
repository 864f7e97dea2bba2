"""What a compiled meta-step computes: the meta-gradient of one part of a meta-batch, of tasks of one shape."""

from collections.abc import Callable, Sequence

import torch
from pydantic import BaseModel, ConfigDict
from torch import Tensor

from app.card import Card
from app.episode import Episode, MetaParams, Query, Support, Tree
from app.learners.learner import Learner
from app.programs.architecture import architecture_card
from app.programs.surroundings import key_of
from app.programs.tensor_kind import TensorKind, kinds_of
from app.training.meta_step import part_gradient

META_LOSS = "meta_loss"
SOURCES = ("training/meta_step.py", "training/step_*.py")
"""What the numbers of these programs depend on, beside `surroundings.SOURCES`."""


class StepSpec(BaseModel):
    """A program: leaves, the episode's tensors and the progress go in, the gradients and the meta-loss come out."""

    model_config = ConfigDict(frozen=True)
    card: Card
    trained: tuple[TensorKind, ...]
    fixed: tuple[TensorKind, ...]
    episode: tuple[TensorKind, ...]
    """In the order of `tensors_of`, with the part's tasks as their leading axis."""
    steps: int

    def key(self) -> str:
        """Return what a program is stored under, see `key_of`."""
        return key_of(self.model_dump_json(), *SOURCES)


def spec_of(card: Card, meta: MetaParams, episodes: Episode, steps: int) -> StepSpec:
    """Return the specification of a part's step; what cards of one architecture differ in is left out."""
    numbered = {str(i): tensor for i, tensor in enumerate(tensors_of(episodes))}
    return StepSpec(
        card=architecture_card(card),
        trained=kinds_of(meta.trained),
        fixed=kinds_of(meta.fixed),
        episode=kinds_of(numbered),
        steps=steps,
    )


def tensors_of(episodes: Episode) -> list[Tensor]:
    """Return an episode's tensors in the order in which a program takes them."""
    return [*episodes.support, *episodes.query, episodes.class_ids]


def inputs_of(spec: StepSpec, meta: MetaParams, episodes: Episode, progress: Tensor) -> list[Tensor]:
    """Return what a program is called with; a program knows of no strides."""
    leaves = [meta.trained[kind.name] for kind in spec.trained] + [meta.fixed[kind.name] for kind in spec.fixed]
    return [tensor.detach().contiguous() for tensor in (*leaves, *tensors_of(episodes), progress)]


def outputs_of(spec: StepSpec, outputs: Sequence[Tensor]) -> Tree:
    """Return what a program gave: the gradient by leaf, and the meta-loss."""
    return dict(zip([*(kind.name for kind in spec.trained), META_LOSS], outputs, strict=True))


def examples_of(spec: StepSpec) -> list[Tensor]:
    """Return inputs of zeros."""
    return [kind.empty() for kind in (*spec.trained, *spec.fixed, *spec.episode)] + [torch.zeros(())]


def function_of(spec: StepSpec, learner: Learner) -> Callable[..., list[Tensor]]:
    """Return the function to compile."""

    def function(*tensors: Tensor) -> list[Tensor]:
        names = [kind.name for kind in (*spec.trained, *spec.fixed)]
        leaves = dict(zip(names, tensors, strict=False))
        trained = {kind.name: leaves[kind.name] for kind in spec.trained}
        fixed = {kind.name: leaves[kind.name] for kind in spec.fixed}
        *rows, class_ids, progress = tensors[len(names) :]
        episodes = Episode(Support(*rows[:4]), Query(*rows[4:]), class_ids)
        gradient, metrics = part_gradient(
            learner, MetaParams(trained, fixed), episodes, spec.steps, progress, first_order=False
        )
        return [*gradient.values(), metrics[META_LOSS]]

    return function
