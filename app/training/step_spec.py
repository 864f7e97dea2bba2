"""What a compiled meta-step computes: the meta-gradient of one part of a meta-batch, of tasks of one shape."""

import hashlib
import platform
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from pydantic import BaseModel, ConfigDict
from torch import Tensor

from app.card import Card
from app.episode import Episode, MetaParams, Query, Support, Tree
from app.learners.learner import Learner
from app.training.meta_step import part_gradient

META_LOSS = "meta_loss"
APP = Path(__file__).resolve().parent.parent
SOURCES = ("card.py", "episode.py", "trees.py", "learners/*.py", "networks/*.py", "training/meta_step.py")
STEP_SOURCES = ("training/step_*.py",)
"""Beneath `APP`, what a program's numbers depend on."""


class TensorKind(NamedTuple):
    """A tensor without its numbers."""

    name: str
    dtype: str
    shape: tuple[int, ...]

    def empty(self) -> Tensor:
        """Return a tensor of zeros of this kind."""
        return torch.zeros(self.shape, dtype=getattr(torch, self.dtype))


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
        """Return what a program is stored under: another machine, torch or source of ours has other programs."""
        return hashlib.sha256(f"{self.model_dump_json()}{_surroundings()}".encode()).hexdigest()


def spec_of(card: Card, meta: MetaParams, episodes: Episode, steps: int) -> StepSpec:
    """Return the specification of a part's step; what cards of one architecture differ in is left out."""
    forgotten: dict[str, Any] = {"name": "any", "familiarity": (), "provenance": {}, "metrics": {}, "max_steps": None}
    kept = card.model_copy(update={**forgotten, "default_steps": None})
    numbered = {str(i): tensor for i, tensor in enumerate(tensors_of(episodes))}
    return StepSpec(
        card=kept, trained=_kinds(meta.trained), fixed=_kinds(meta.fixed), episode=_kinds(numbered), steps=steps
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


def _kinds(tree: Tree) -> tuple[TensorKind, ...]:
    return tuple(
        TensorKind(name, str(leaf.dtype).removeprefix("torch."), tuple(leaf.shape)) for name, leaf in tree.items()
    )


def _surroundings() -> str:
    """Return what code for this processor and this torch depends on, beside the specification."""
    about_cpu = Path("/proc/cpuinfo")
    lines = about_cpu.read_text().splitlines() if about_cpu.exists() else []
    processor = sorted({line for line in lines if line.startswith(("flags", "model name", "Features"))})
    sources = [path.read_bytes() for pattern in (*SOURCES, *STEP_SOURCES) for path in sorted(APP.glob(pattern))]
    capability = torch.backends.cpu.get_cpu_capability()
    told = [torch.__version__, capability, platform.machine(), *processor]
    return hashlib.sha256("\n".join(told).encode() + b"".join(sources)).hexdigest()
