"""Where wire and tensors meet: requests become supports and queries, outputs become answers.

All of it computes: it runs in worker threads, never on the event loop.
"""

from collections.abc import Sequence
from functools import lru_cache
from itertools import chain
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from app.api.numbers import Array, numbers
from app.api.rows import Encode, input_rows
from app.card import Card
from app.episode import Query, Support
from app.safetensors_header import header_bytes
from app.store import Classes
from app.trees import from_bytes
from innerloop.errors import (
    EmptySupport,
    InvalidRequest,
    InvalidTargets,
    ShapeMismatch,
    TooFewClasses,
    TooManyClasses,
    TooManyRows,
    UnknownClass,
)
from innerloop.wire import Limits, SupportRows, ValidationRows

MAX_CLASS_NAME_CHARS = 256
MAX_INT = 2**63 - 1
JSON_NAMES = {str: "strings", int: "integers", float: "fractions", bool: "booleans", type(None): "null", list: "lists"}


class Schema(NamedTuple):
    """What rows are held against."""

    card: Card
    model: str
    """`name@version`, for messages."""
    limits: Limits
    encode: Encode


class LabelledRows(NamedTuple):
    """Decoded rows with their targets, as they are stored: [R, ...] inputs; [R, D] or [R] targets."""

    inputs: Tensor
    targets: Tensor
    classes: Classes | None
    """Class names by index, in the order of their first appearance; None for regression."""

    def as_bytes(self) -> bytes:
        """Return inputs and targets as safetensors."""
        targets_dtype = "F32" if self.classes is None else "I64"
        header, inputs_first = _rows_header(self.inputs.shape, self.targets.shape, targets_dtype)
        inputs, targets = self.inputs.contiguous().numpy().data, self.targets.contiguous().numpy().data
        return b"".join((header, inputs, targets) if inputs_first else (header, targets, inputs))


@lru_cache(1024)
def _rows_header(
    inputs_shape: tuple[int, ...], targets_shape: tuple[int, ...], targets_dtype: str
) -> tuple[bytes, bool]:
    """Return the header of stored rows, and whether the inputs come first."""
    header, names = header_bytes([("inputs", "F32", inputs_shape), ("targets", targets_dtype, targets_shape)])
    return header, names[0] == "inputs"


def stored_rows(data: bytes, classes: Classes | None) -> LabelledRows:
    """Return rows that were stored with `as_bytes`."""
    tree = from_bytes(data)
    return LabelledRows(tree["inputs"], tree["targets"], classes)


def support_rows(rows: SupportRows, schema: Schema, before: LabelledRows | None = None) -> LabelledRows:
    """Return the support's rows, after those of `before` when there are any.

    Raises EmptySupport, TooManyRows, TooFewClasses, TooManyClasses, InvalidTargets, and what `input_rows` raises.
    """
    num_before = len(before.inputs) if before else 0
    _check_num_rows(rows.inputs, num_before, schema.limits.max_support_rows, "support", "max_support_rows")
    decoded = _labelled(rows.inputs, rows.targets, "support", schema, before.classes if before else None)
    if not len(decoded.inputs):
        raise EmptySupport("support.inputs is empty; at least one row is needed")
    union = _union(before, decoded, schema.model) if before else decoded
    if union.classes is not None:
        _check_classes(union.classes, schema)
    return union


def as_support(rows: LabelledRows, card: Card) -> Support:
    """Return rows as a task's support; classes that it lacks are masked."""
    num_rows, num_classes = len(rows.inputs), len(rows.classes or ())
    class_mask = _mask(num_classes, card.num_classes(num_classes) if num_classes else 0)
    return Support(rows.inputs, rows.targets, _mask(num_rows, num_rows), class_mask)


@lru_cache(1024)
def _mask(num_true: int, length: int) -> Tensor:
    """Return [length] bool, whose first so many are true; shared, as nothing writes into a support."""
    return torch.arange(length) < num_true


def validation_query(rows: ValidationRows, schema: Schema, classes: Classes | None) -> Query:
    """Return validation rows over a task's `classes`; UnknownClass for another one."""
    _check_num_rows(rows.inputs, 0, schema.limits.max_query_rows, "validation", "max_query_rows")
    decoded = _labelled(rows.inputs, rows.targets, "validation", schema, classes)
    if not len(decoded.inputs):
        raise EmptySupport("validation.inputs is empty; leave validation out, or send at least one row")
    if classes is not None and decoded.classes is not None and len(decoded.classes) > len(classes):
        unknown = decoded.classes[len(classes)]
        raise UnknownClass(f"validation.targets names the class {unknown!r}; the support has {_listed(classes)}")
    return Query(decoded.inputs, decoded.targets, torch.ones(len(decoded.inputs), dtype=torch.bool))


def query_inputs(value: Any, schema: Schema) -> Tensor:
    """Return the rows to predict; TooManyRows, and what `input_rows` raises."""
    _check_num_rows(value, 0, schema.limits.max_query_rows, "inputs", "max_query_rows")
    return _tensor(_inputs(value, "inputs", schema))


def answer_rows(outputs: Array, classes: Classes | None, abstain_below: float = 0.0) -> dict[str, Any]:
    """Return the fields of an answer that hold the predictions; arrays are numpy's, for the fast serializer.

    A row whose largest probability is below `abstain_below` has the label None.
    """
    if classes is None:
        return {"outputs": outputs}
    probabilities = np.ascontiguousarray(outputs[:, : len(classes)])
    labels: list[str | int | None] = []
    if len(outputs):
        # Compared as float32: what is shown as 0.9 is a little less than the number 0.9, and is not below it.
        unsure = probabilities.max(axis=1) < np.float32(abstain_below)
        found = zip(probabilities.argmax(axis=1).tolist(), unsure.tolist(), strict=True)
        labels = [None if left_out else classes[index] for index, left_out in found]
    return {"labels": labels, "probabilities": probabilities, "classes": classes}


def _labelled(inputs: Any, targets: Any, where: str, schema: Schema, known: Classes | None) -> LabelledRows:
    x = _tensor(_inputs(inputs, f"{where}.inputs", schema))
    if not isinstance(targets, list | np.ndarray):
        raise InvalidTargets(f"{where}.targets is not a list; a list with an entry for each row is expected")
    if len(targets) != len(x):
        raise ShapeMismatch(f"{where}.inputs has {len(x)} rows and {where}.targets {len(targets)}; they must be equal")
    if schema.card.output.kind == "regression":
        return LabelledRows(x, _tensor(_regression_targets(targets, f"{where}.targets", schema)), None)
    classes, indexes = _class_indexes(_class_names(targets, f"{where}.targets"), f"{where}.targets", known or [])
    return LabelledRows(x, torch.from_numpy(np.array(indexes, dtype=np.int64)), classes)


def _inputs(value: Any, where: str, schema: Schema) -> Array:
    return input_rows(value, where, schema.card, schema.model, schema.limits, schema.encode)


def _tensor(array: Array) -> Tensor:
    """Return an array as a tensor over the same memory, or over a copy where torch wants to own what it reads."""
    owned = array.flags.writeable and array.flags.aligned
    return torch.from_numpy(array if owned else array.copy())


def _regression_targets(targets: Any, where: str, schema: Schema) -> Array:
    """Return [R, D]; for one output, bare numbers are taken as well."""
    shape = schema.card.output.shape
    try:
        if shape == (1,) and _is_flat(targets):
            return numbers(targets, where, (), schema.model)[:, None]
        return numbers(targets, where, shape, schema.model)
    except InvalidRequest as error:
        raise InvalidTargets(f"{error.detail}; {schema.model} takes numbers as targets") from error


def _is_flat(targets: Any) -> bool:
    if isinstance(targets, np.ndarray):
        return targets.ndim == 1
    return bool(targets) and not isinstance(targets[0], list)


def _class_names(targets: Any, where: str) -> list[Any]:
    """Return an array of whole numbers as the class names that they are."""
    if isinstance(targets, np.ndarray) and targets.ndim != 1:
        raise InvalidTargets(f"{where} has {targets.ndim} axes; class names are one a row")
    names: list[Any] = targets.tolist() if isinstance(targets, np.ndarray) else targets
    return names


def _class_indexes(targets: list[Any], where: str, known: Sequence[Any]) -> tuple[Classes, list[int]]:
    """Return the class names, the known ones first, and each row's index."""
    kinds = set(map(type, chain(known, targets)))
    if not kinds <= {str} and not kinds <= {int}:
        found = ", ".join(sorted({JSON_NAMES.get(kind, "objects") for kind in kinds}))
        raise InvalidTargets(f"{where} holds {found}; class names are all strings or all integers within one task")
    index_of = {name: i for i, name in enumerate(dict.fromkeys(chain(known, targets)))}
    if str in kinds and max(map(len, index_of)) > MAX_CLASS_NAME_CHARS:
        raise InvalidTargets(f"{where} holds a class name of more than {MAX_CLASS_NAME_CHARS} characters")
    if int in kinds and max(map(abs, index_of)) > MAX_INT:
        raise InvalidTargets(f"{where} holds an integer beyond 64 bits; use strings for such class names")
    return [*index_of], [index_of[name] for name in targets]


def _union(before: LabelledRows, added: LabelledRows, model: str) -> LabelledRows:
    if before.inputs.shape[1:] != added.inputs.shape[1:] or before.targets.shape[1:] != added.targets.shape[1:]:
        raise ShapeMismatch(f"the task's stored rows do not have the shape that {model} takes; adapt without append")
    inputs = torch.cat([before.inputs, added.inputs])
    return LabelledRows(inputs, torch.cat([before.targets, added.targets]), added.classes)


def _check_num_rows(value: Any, num_before: int, most: int, where: str, cap: str) -> None:
    """Refuse too many rows before any of them is looked at."""
    num_rows = num_before + (len(value) if isinstance(value, list | np.ndarray) else 0)
    if num_rows > most:
        raise TooManyRows(f"{where} has {num_rows} rows; at most {most} ({cap} in GET /limits)")


def _check_classes(classes: Classes, schema: Schema) -> None:
    holds = min(schema.card.num_classes(len(classes)), schema.limits.max_classes)
    if len(classes) > holds:
        raise TooManyClasses(f"the support has {len(classes)} classes; {schema.model} can hold {holds}")
    if len(classes) < 2:
        raise TooFewClasses(f"the support has one class, {classes[0]!r}; at least two are needed to tell apart")


def _listed(classes: Classes) -> str:
    shown = ", ".join(map(repr, classes[:5]))
    return shown + (f" and {len(classes) - 5} more" if len(classes) > 5 else "")
