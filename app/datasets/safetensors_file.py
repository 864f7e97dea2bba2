"""Arrays as safetensors writes them: the header is looked at first, and tensors are read one at a time."""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy.typing as npt
import torch
from safetensors import SafetensorError, safe_open

from app.datasets.arrays import ArrayFile, Header
from innerloop.errors import InvalidDataset, NotSafetensors

LENGTH_BYTES = 8
KIND_AND_BYTES = {
    "BOOL": ("b", 1),
    "U8": ("u", 1),
    "U16": ("u", 2),
    "U32": ("u", 4),
    "U64": ("u", 8),
    "I8": ("i", 1),
    "I16": ("i", 2),
    "I32": ("i", 4),
    "I64": ("i", 8),
    "F16": ("f", 2),
    "BF16": ("f", 2),
    "F32": ("f", 4),
    "F64": ("f", 8),
}
OTHER = ("V", 0)
"""Kind and size of a dtype that holds no real numbers."""


def is_safetensors(head: bytes) -> bool:
    """Tell by a file's first bytes: the length of a JSON object, and its start."""
    return head[LENGTH_BYTES : LENGTH_BYTES + 2] == b'{"' and head[LENGTH_BYTES - 2 : LENGTH_BYTES] == b"\0\0"


@contextmanager
def opened_safetensors(path: Path, filename: str) -> Iterator[ArrayFile]:
    """Give the tensors of the file; NotSafetensors when it is none or cut off."""
    try:
        file: Any = safe_open(path, framework="pt")
    except (SafetensorError, OSError, ValueError) as error:
        raise NotSafetensors(f"{filename} is no safetensors file, or a damaged one: {error}") from error
    with file as opened:
        yield ArrayFile(
            {name: _header(opened.get_slice(name)) for name in opened.keys()},  # noqa: SIM118 -- no mapping
            lambda name: _load(opened, name, filename),
        )


def _header(part: Any) -> Header:
    shape, dtype = tuple(part.get_shape()), part.get_dtype()
    kind, num_bytes = KIND_AND_BYTES.get(dtype, OTHER)
    return Header(shape, kind, dtype, math.prod(shape) * num_bytes)


def _load(opened: Any, name: str, filename: str) -> npt.NDArray[Any]:
    try:
        tensor: torch.Tensor = opened.get_tensor(name)
    except (SafetensorError, RuntimeError) as error:
        raise InvalidDataset(f"{filename}: {name} cannot be read: {error}") from error
    return (tensor.float() if tensor.dtype == torch.bfloat16 else tensor).numpy()
