"""Task parameters as one run of bytes: what is cached, gathered into batches and stored, without a copy between."""

import json
import math
from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

import torch
from torch import Tensor

from app.episode import TaskParams

ALIGNMENT = 8
LENGTH_BYTES = 8
DTYPES: dict[str, torch.dtype] = {
    "F64": torch.float64,
    "I64": torch.int64,
    "F32": torch.float32,
    "I32": torch.int32,
    "BF16": torch.bfloat16,
    "F16": torch.float16,
    "U8": torch.uint8,
    "BOOL": torch.bool,
}
NAME_OF = {dtype: name for name, dtype in DTYPES.items()}


class Leaf(NamedTuple):
    """Where a tensor lies in the bytes of its task."""

    name: str
    dtype: torch.dtype
    shape: tuple[int, ...]
    begin: int
    end: int


class Layout(NamedTuple):
    """What the bytes of a task mean; tasks of one layout can be predicted together."""

    leaves: tuple[Leaf, ...]
    """By width, the widest first, then by name, as safetensors has them."""
    num_bytes: int
    header: bytes
    """Before the bytes it makes them a safetensors file."""


class Packed(NamedTuple):
    """The parameters of one task."""

    layout: Layout
    row: Tensor
    """[B] uint8, on the device; its memory holds nothing else, so that dropping it gives that back."""

    @property
    def num_bytes(self) -> int:
        """The bytes of all tensors."""
        return self.layout.num_bytes

    def tree(self) -> TaskParams:
        """Return the parameters by name, as views."""
        return {name: leaf[0] for name, leaf in unpack(self.layout, self.row[None]).items()}

    def as_bytes(self) -> bytes:
        """Return a safetensors file."""
        return self.layout.header + self.row.cpu().numpy().tobytes()


def pack(params_T: TaskParams, num_tasks: int) -> tuple[Layout, Tensor]:
    """Return the layout of one task, and [T, B] with the bytes of each, from leaves with a leading task axis."""
    layout, columns = columns_of(params_T, num_tasks)
    return layout, rows_of(columns, num_tasks)


def columns_of(params_T: TaskParams, num_tasks: int) -> tuple[Layout, list[Tensor]]:
    """Return the layout of one task, and for each dtype in its order [T, n], the numbers of that type."""
    layout = _layout(tuple((name, leaf.dtype, tuple(leaf.shape[1:])) for name, leaf in params_T.items()))
    parts = [params_T[leaf.name].reshape(num_tasks, -1) for leaf in layout.leaves]
    by_dtype = dict.fromkeys(part.dtype for part in parts)
    return layout, [torch.cat([part for part in parts if part.dtype == dtype], dim=1) for dtype in by_dtype]


def rows_of(columns: Sequence[Tensor], num_tasks: int) -> Tensor:
    """Return [T, B], the bytes of tasks, from what `columns_of` gives."""
    rows = [column.view(torch.uint8) for column in columns]
    if not rows:
        return torch.empty(num_tasks, 0, dtype=torch.uint8)
    return rows[0] if len(rows) == 1 else torch.cat(rows, dim=1)


def packed(params: TaskParams) -> Packed:
    """Return the parameters of one task."""
    layout, rows_TB = pack({name: leaf[None] for name, leaf in params.items()}, 1)
    return Packed(layout, rows_TB[0])


def unpack(layout: Layout, rows_TB: Tensor) -> TaskParams:
    """Return leaves with a leading task axis, views of the bytes where their place allows it."""
    return {leaf.name: _viewed(leaf, rows_TB) for leaf in layout.leaves}


def gathered(rows: Sequence[Tensor], widest: int = ALIGNMENT) -> Tensor:
    """Return [T, B], the bytes of several tasks, so padded that `unpack` needs no copies.

    `widest` is the width of their widest number, where that is known.
    """
    num_bytes = len(rows[0])
    width = -(-num_bytes // widest) * widest
    slab = torch.empty(len(rows), width, dtype=torch.uint8, device=rows[0].device)[:, :num_bytes]
    return torch.stack(list(rows), out=slab) if width == num_bytes else _copied(rows, slab)


def packed_from_bytes(data: bytes, device: torch.device) -> Packed:
    """Return the parameters of a safetensors file; ValueError when it is none."""
    end = LENGTH_BYTES + int.from_bytes(data[:LENGTH_BYTES], "little")
    layout = _layout_of_header(data[:end])
    if len(data) != end + layout.num_bytes:
        raise ValueError("not a safetensors file: its length is not what its header says")
    if not layout.num_bytes:
        return Packed(layout, torch.empty(0, dtype=torch.uint8, device=device))
    return Packed(layout, torch.frombuffer(bytearray(memoryview(data)[end:]), dtype=torch.uint8).to(device))


def _copied(rows: Sequence[Tensor], slab_TB: Tensor) -> Tensor:
    for place, row in zip(slab_TB, rows, strict=True):
        place.copy_(row)
    return slab_TB


def _viewed(leaf: Leaf, rows_TB: Tensor) -> Tensor:
    shape = (len(rows_TB), *leaf.shape)
    if leaf.begin == leaf.end:
        return torch.empty(shape, dtype=leaf.dtype, device=rows_TB.device)
    part = rows_TB[:, leaf.begin : leaf.end]
    width = leaf.dtype.itemsize
    if part.storage_offset() % width or (len(rows_TB) > 1 and part.stride(0) % width):
        part = part.clone(memory_format=torch.contiguous_format)
    elif len(rows_TB) == 1 and part.stride(0) % width:
        part = part.as_strided((1, part.shape[1]), (part.shape[1], 1))
    return part.view(leaf.dtype).view(shape)


@lru_cache(1024)
def _layout(signature: tuple[tuple[str, torch.dtype, tuple[int, ...]], ...]) -> Layout:
    leaves: list[Leaf] = []
    begin = 0
    for name, dtype, shape in sorted(signature, key=lambda leaf: (-leaf[1].itemsize, NAME_OF[leaf[1]], leaf[0])):
        end = begin + math.prod(shape) * dtype.itemsize
        leaves.append(Leaf(name, dtype, shape, begin, end))
        begin = end
    return Layout(tuple(leaves), begin, _header(leaves))


def _header(leaves: Sequence[Leaf]) -> bytes:
    entries = {
        leaf.name: {"dtype": NAME_OF[leaf.dtype], "shape": leaf.shape, "data_offsets": [leaf.begin, leaf.end]}
        for leaf in leaves
    }
    text = json.dumps(entries, separators=(",", ":")).encode()
    text += b" " * (-len(text) % ALIGNMENT)
    return len(text).to_bytes(LENGTH_BYTES, "little") + text


@lru_cache(1024)
def _layout_of_header(header: bytes) -> Layout:
    try:
        entries = json.loads(header[LENGTH_BYTES:])
        entries.pop("__metadata__", None)
        leaves = sorted(
            (
                Leaf(name, DTYPES[entry["dtype"]], tuple(entry["shape"]), *entry["data_offsets"])
                for name, entry in entries.items()
            ),
            key=lambda leaf: leaf.begin,
        )
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError("not a safetensors file: its header cannot be read") from error
    begin = 0
    for leaf in leaves:
        if leaf.begin != begin or leaf.end - leaf.begin != math.prod(leaf.shape) * leaf.dtype.itemsize:
            raise ValueError(f"not a safetensors file: {leaf.name!r} is not where its header says")
        begin = leaf.end
    return Layout(tuple(leaves), begin, header)
