"""What a compiled program computes: one of serving's functions, of models of one architecture, at fixed sizes a task.

The functions are those that the eager path vmaps, and the weights are among their inputs: one program serves every
version of a model that has the same card and the same shapes.
"""

from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any, Literal, NamedTuple

import torch
from pydantic import BaseModel, ConfigDict
from torch import Tensor
from torch.utils._pytree import tree_map

from app.card import Card
from app.engine.estimate import judging_one
from app.engine.executor import adapting_one, finite_tasks, predicting_one
from app.engine.packed import Layout, columns_of
from app.episode import MetaParams, Support, TaskParams, Tree
from app.learners.model import Model, learner_of
from app.programs.architecture import architecture_card
from app.programs.surroundings import key_of
from app.programs.tensor_kind import TensorKind, kinds_of, name_of

Work = Literal["adapt", "estimate", "predict"]
SOURCES = ("pictures.py", "engine/executor.py", "engine/estimate.py", "engine/packed.py", "engine/compiled_*.py")
"""What the numbers of these programs depend on, beside `surroundings.SOURCES`."""


class Architecture(BaseModel):
    """What models have in common whose programs are the same."""

    model_config = ConfigDict(frozen=True)
    card: Card
    trained: tuple[TensorKind, ...]
    fixed: tuple[TensorKind, ...]


class Sizes(NamedTuple):
    """What a program is asked for, and the shapes of one task after padding; what a kind of work lacks is 0."""

    work: Work
    steps: int = 0
    rows: int = 0
    """Of the support, or of inputs to predict."""
    classes: int = 0
    folds: int = 0
    fold_rows: int = 0
    leaves: tuple[TensorKind, ...] = ()
    """A task's parameters in the order of their bytes, where they are an input."""


class Spec(BaseModel):
    """A program."""

    model_config = ConfigDict(frozen=True)
    architecture: Architecture
    sizes: Sizes
    threads: int
    """CPU threads that it may take."""

    def key(self) -> str:
        """Return what a program is stored under, see `key_of`."""
        return key_of(self.model_dump_json(), *SOURCES)


def architecture_of(model: Model) -> Architecture:
    """Return the architecture of a model: its card without what differs between versions, and its leaves."""
    card = architecture_card(model.card)
    return Architecture(card=card, trained=_kinds(model.meta.trained), fixed=_kinds(model.meta.fixed))


@lru_cache(1024)
def kinds_of_layout(layout: Layout) -> tuple[TensorKind, ...]:
    """Return the kinds of a task's parameters in the order of their bytes."""
    return tuple(TensorKind(leaf.name, name_of(leaf.dtype), leaf.shape) for leaf in layout.leaves)


def model_of_architecture(architecture: Architecture) -> Model:
    """Return a model of an architecture, its numbers all zero."""
    meta = MetaParams(
        {kind.name: kind.empty() for kind in architecture.trained},
        {kind.name: kind.empty() for kind in architecture.fixed},
    )
    return Model(architecture.card, learner_of(architecture.card), meta)


def leaves_of(architecture: Architecture, meta: MetaParams) -> list[Tensor]:
    """Return an initialisation in the order in which a program takes it."""
    return [
        *(meta.trained[kind.name] for kind in architecture.trained),
        *(meta.fixed[kind.name] for kind in architecture.fixed),
    ]


def inputs_of(spec: Spec) -> list[TensorKind]:
    """Return what a program takes of each task, beside the initialisation."""
    card, sizes = spec.architecture.card, spec.sizes
    inputs = TensorKind("inputs", "float32", (sizes.rows, *card.input.shape))
    if sizes.work == "predict":
        return [*column_kinds(sizes.leaves), inputs]
    numbers = card.output.kind == "regression"
    targets = TensorKind(
        "targets", "float32" if numbers else "int64", (sizes.rows, *((card.num_outputs,) if numbers else ()))
    )
    masks = [TensorKind("row_mask", "bool", (sizes.rows,)), TensorKind("class_mask", "bool", (sizes.classes,))]
    of_folds = (sizes.folds, sizes.fold_rows)
    folds = [TensorKind("rows", "int64", of_folds), TensorKind("counts", "bool", of_folds)]
    return [inputs, targets, *masks, TensorKind("rate", "float32", ()), *(folds if sizes.work == "estimate" else [])]


def column_kinds(leaves: Sequence[TensorKind]) -> list[TensorKind]:
    """Return the kinds of the columns that a task's parameters lie in, one a dtype."""
    sizes: dict[str, int] = {}
    for leaf in leaves:
        sizes[leaf.dtype] = sizes.get(leaf.dtype, 0) + leaf.empty().numel()
    return [TensorKind("params", dtype, (size,)) for dtype, size in sizes.items()]


Mapped = Callable[[Callable[..., Any]], Callable[..., Any]]
"""Makes of a function of one task one of tensors with a leading task axis."""


def alone(of_task: Callable[..., Any]) -> Callable[..., Any]:
    """Return `of_task` for a task axis of length 1, without vmap."""

    def mapped(*tensors_1: Any) -> Any:
        return tree_map(lambda leaf: leaf[None], of_task(*tree_map(lambda leaf_1: leaf_1[0], tensors_1)))

    return mapped


def function_of(spec: Spec, model: Model, mapped: Mapped = torch.vmap) -> Callable[..., list[Tensor]]:
    """Return the function to compile: (leaves of the initialisation, inputs with a leading task axis) -> outputs.

    Of `adapt` the outputs are columns, losses and which tasks are finite; of `estimate` metrics by the order of
    `names_of`; of `predict` the outputs of its rows.
    """
    num_trained = len(spec.architecture.trained)
    num_leaves = num_trained + len(spec.architecture.fixed)
    of_tasks = {"adapt": _adapt, "estimate": _estimate, "predict": _predict}[spec.sizes.work]

    def function(*tensors: Tensor) -> list[Tensor]:
        trained, fixed = tensors[:num_trained], tensors[num_trained:num_leaves]
        meta = MetaParams(
            {kind.name: leaf for kind, leaf in zip(spec.architecture.trained, trained, strict=True)},
            {kind.name: leaf for kind, leaf in zip(spec.architecture.fixed, fixed, strict=True)},
        )
        return of_tasks(spec.sizes, model._replace(meta=meta), tensors[num_leaves:], mapped)

    return function


@torch.no_grad()
def names_of(spec: Spec, model: Model) -> tuple[str, ...]:
    """Return the names of the metrics of `estimate`, in their order."""
    kinds = inputs_of(spec)
    *support, rate, rows, counts = (kind.empty() for kind in kinds)
    return tuple(judging_one(model, spec.sizes.steps)(Support(*support), rate, rows, counts))


@torch.no_grad()
def layout_of(spec: Spec, model: Model) -> Layout:
    """Return the layout of the task parameters that `adapt` makes."""
    *support, rate = (kind.empty() for kind in inputs_of(spec))
    params, _ = adapting_one(model, spec.sizes.steps)(Support(*support), rate)
    return columns_of({name: leaf[None] for name, leaf in params.items()}, 1)[0]


def _kinds(tree: Tree) -> tuple[TensorKind, ...]:
    """Return the kinds of leaves by name: trees have no order of their own (safetensors give them in any)."""
    return kinds_of(dict(sorted(tree.items())))


def _adapt(sizes: Sizes, model: Model, inputs_T: Sequence[Tensor], mapped: Mapped) -> list[Tensor]:
    params_T, losses_TK = mapped(adapting_one(model, sizes.steps))(Support(*inputs_T[:4]), inputs_T[4])
    _, columns = columns_of(params_T, len(inputs_T[4]))
    return [*columns, losses_TK, finite_tasks(columns, losses_TK)]


def _estimate(sizes: Sizes, model: Model, inputs_T: Sequence[Tensor], mapped: Mapped) -> list[Tensor]:
    metrics_T = mapped(judging_one(model, sizes.steps))(Support(*inputs_T[:4]), *inputs_T[4:])
    return [torch.stack([*metrics_T.values()], dim=1)]


def _predict(sizes: Sizes, model: Model, inputs_T: Sequence[Tensor], mapped: Mapped) -> list[Tensor]:
    return [mapped(predicting_one(model))(_leaves(sizes.leaves, inputs_T[:-1]), inputs_T[-1])]


def _leaves(leaves: Sequence[TensorKind], columns: Sequence[Tensor]) -> TaskParams:
    by_dtype = {kind.dtype: column for kind, column in zip(column_kinds(leaves), columns, strict=True)}
    begin = dict.fromkeys(by_dtype, 0)
    params: TaskParams = {}
    for leaf in leaves:
        start, size = begin[leaf.dtype], leaf.empty().numel()
        column = by_dtype[leaf.dtype]
        params[leaf.name] = column[:, start : start + size].reshape(len(column), *leaf.shape)
        begin[leaf.dtype] = start + size
    return params
