"""The state of a run between two iterations: all that going on from it needs, as one safetensors file."""

import json
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from app.episode import MetaParams, Tree
from app.trees import from_bytes, merge, metadata_of, prefixed, subtree, to_bytes

PARTS = ("meta.trained.", "meta.fixed.", "best.trained.", "best.fixed.", "optimizer.")
GENERATOR = "generator"
NUMBERS = "run"


@dataclass(frozen=True)
class RunState:
    """Where a run stands; a run that goes on from here ends with the weights of one that never stopped."""

    iteration: int
    """Iterations that are done."""
    meta: MetaParams
    optimizer: Tree
    """State of the outer optimiser, `<leaf>/<name>`."""
    generator: Tensor
    """[bytes] uint8: the state of the generator that episodes are drawn from."""
    best: MetaParams
    """The best initialisation so far by meta-validation."""
    best_score: float
    best_iteration: int
    """0 until a validation was finite."""
    stale: int
    """Validations since then."""
    lost: int
    """Meta-batches in a row, up to here, that were not finite."""
    compiled: bool | None = None
    """Whether the steps from the plan's `compiled_from` on are compiled; None until the first of them."""
    compiled_steps: int = 0
    """Steps up to here that were."""


def state_bytes(state: RunState) -> bytes:
    """Return a state as safetensors: weights, optimiser and generator as tensors, the numbers in the metadata."""
    trees = (*state.meta, *state.best, state.optimizer)
    tree: Tree = {GENERATOR: state.generator}
    for prefix, part in zip(PARTS, trees, strict=True):
        tree = merge(tree, prefixed(part, prefix))
    numbers = {
        "iteration": state.iteration,
        "best_score": state.best_score.hex(),  # decimal digits would do as well; this shows that no bit is lost
        "best_iteration": state.best_iteration,
        "stale": state.stale,
        "lost": state.lost,
        "compiled": state.compiled,
        "compiled_steps": state.compiled_steps,
    }
    return to_bytes(tree, {NUMBERS: json.dumps(numbers)})


def state_of(data: bytes) -> RunState:
    """Return the state that `state_bytes` wrote; ValueError for other bytes."""
    tree = from_bytes(data)
    try:
        numbers: dict[str, Any] = json.loads(metadata_of(data)[NUMBERS])
        trained, fixed, best_trained, best_fixed, optimizer = (subtree(tree, prefix) for prefix in PARTS)
        return RunState(
            iteration=numbers["iteration"],
            meta=MetaParams(trained, fixed),
            optimizer=optimizer,
            generator=tree[GENERATOR],
            best=MetaParams(best_trained, best_fixed),
            best_score=float.fromhex(numbers["best_score"]),
            best_iteration=numbers["best_iteration"],
            stale=numbers["stale"],
            lost=numbers.get("lost", 0),  # a checkpoint of before it was counted has none
            compiled=numbers.get("compiled", False),  # one of before there were compiled steps goes on without
            compiled_steps=numbers.get("compiled_steps", 0),
        )
    except KeyError as error:
        raise ValueError(f"these bytes hold no state of a run: {error} is missing") from error


def optimizer_tree(optimizer: torch.optim.Optimizer, leaves: Tree) -> Tree:
    """Return a copy on the CPU of what an optimiser keeps for each leaf."""
    return {
        f"{name}/{key}": value.detach().cpu().clone()
        for name, leaf in leaves.items()
        for key, value in optimizer.state[leaf].items()
        if value is not None
    }


def restore_optimizer(optimizer: torch.optim.Optimizer, leaves: Tree, tree: Tree) -> None:
    """Give an optimiser over `leaves` the state that `optimizer_tree` copied."""
    for path, value in tree.items():
        name, _, key = path.rpartition("/")
        optimizer.state[leaves[name]][key] = value.to(leaves[name].device, copy=True)
