"""Parameter trees: flat dictionaries of tensors by dotted name."""

import hashlib
import json
from collections.abc import Mapping, Sequence

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save

from app.episode import Tree


def stack(trees: Sequence[Tree]) -> Tree:
    """Return one tree whose leaves have a leading axis over `trees`, all of the same names and shapes."""
    return {name: torch.stack([tree[name] for tree in trees]) for name in trees[0]}


def unstack(tree: Tree) -> list[Tree]:
    """Return the trees along the leading axis; undoes `stack`."""
    num_trees = next(iter(tree.values())).shape[0]
    return [{name: leaf[i] for name, leaf in tree.items()} for i in range(num_trees)]


def merge(base: Tree, changes: Tree) -> Tree:
    """Return `base` with the leaves of `changes` in place of its own."""
    return {**base, **changes}


def subtree(tree: Tree, prefix: str) -> Tree:
    """Return the leaves whose names start with `prefix`, under the names that follow it."""
    return {name.removeprefix(prefix): leaf for name, leaf in tree.items() if name.startswith(prefix)}


def prefixed(tree: Tree, prefix: str) -> Tree:
    """Return the same leaves with `prefix` before each name."""
    return {prefix + name: leaf for name, leaf in tree.items()}


def num_bytes(tree: Tree) -> int:
    """Return the bytes that the leaves hold."""
    return sum(leaf.numel() * leaf.element_size() for leaf in tree.values())


def all_finite(tree: Tree) -> bool:
    """Tell whether no leaf holds NaN or infinity; waits for the device."""
    checks = [torch.isfinite(leaf).all() for leaf in tree.values()]
    return bool(torch.stack(checks).all()) if checks else True


def to_device(tree: Tree, device: torch.device) -> Tree:
    """Return the tree with each leaf on `device`."""
    return {name: leaf.to(device) for name, leaf in tree.items()}


def to_bytes(tree: Tree, metadata: Mapping[str, str] | None = None) -> bytes:
    """Return the tree as a safetensors file, with `metadata` in its header."""
    leaves = {name: leaf.detach().cpu().contiguous().clone() for name, leaf in tree.items()}
    return save(leaves, dict(metadata) if metadata else None)


def from_bytes(data: bytes) -> Tree:
    """Return the tree of a safetensors file; ValueError when it is none."""
    try:
        return load(data)
    except SafetensorError as error:
        raise ValueError(f"not a safetensors file: {error}") from error
    except KeyError as error:  # the format has types that the loader has not, such as F4
        raise ValueError(f"a safetensors file with tensors of type {error.args[0]}, which are not taken") from error


def metadata_of(data: bytes) -> dict[str, str]:
    """Return the metadata of a safetensors file, empty where it has none; ValueError when it is none."""
    end = 8 + int.from_bytes(data[:8], "little")
    if len(data) < end:
        raise ValueError("not a safetensors file: its header is cut off")
    try:
        metadata = json.loads(data[8:end]).get("__metadata__") or {}
    except (ValueError, RecursionError, AttributeError) as error:
        raise ValueError("not a safetensors file: its header is no JSON object") from error
    if not isinstance(metadata, dict) or not all(isinstance(value, str) for value in metadata.values()):
        raise ValueError("the metadata of a safetensors file maps names to strings")
    return metadata


def sha256(data: bytes) -> str:
    """Return the hexadecimal sha256 of stored bytes."""
    return hashlib.sha256(data).hexdigest()
