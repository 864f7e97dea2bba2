"""What the protocol tells of a task: its tensors, as metadata and as a configuration."""

from collections.abc import Sequence
from typing import Any

from app.api.model_names import public_name
from app.card import Card, InputCard
from app.store import Classes, Head

PLATFORM = "innerloop"
VARIES = -1


def metadata(head: Head, revisions: Sequence[int], card: Card) -> dict[str, Any]:
    """Return a task's metadata; -1 is a dimension that varies."""
    inputs, outputs = _input(card.input), _outputs(card, head.classes)
    return {
        "name": head.task_id,
        "versions": [str(revision) for revision in revisions],
        "platform": PLATFORM,
        "inputs": [{"name": name, "datatype": kind, "shape": [VARIES, *shape]} for name, kind, shape in inputs],
        "outputs": [{"name": name, "datatype": kind, "shape": [VARIES, *shape]} for name, kind, shape in outputs],
        "parameters": {"model": f"{public_name(head.model)}@{head.model_version}", "classes": head.classes},
    }


def config(head: Head, card: Card, max_rows: int) -> dict[str, Any]:
    """Return the little of a configuration that load generators read; dimensions are those of a row."""

    def tensors(found: Sequence[tuple[str, str, list[int]]]) -> list[dict[str, Any]]:
        # a row of no axes is written as one of one number, as Triton has it
        return [
            {"name": name, "data_type": f"TYPE_{'STRING' if kind == 'BYTES' else kind}", "dims": shape or [1]}
            for name, kind, shape in found
        ]

    return {
        "name": head.task_id,
        "platform": PLATFORM,
        "backend": PLATFORM,
        "max_batch_size": max_rows,
        "input": tensors(_input(card.input)),
        "output": tensors(_outputs(card, head.classes)),
    }


def _input(card: InputCard) -> list[tuple[str, str, list[int]]]:
    """Return name, datatype and shape of a row; sentences are one string each."""
    return [("inputs", "BYTES", [])] if card.kind == "text" else [("inputs", "FP32", [*card.shape])]


def _outputs(card: Card, classes: Classes | None) -> list[tuple[str, str, list[int]]]:
    if classes is None:
        return [("outputs", "FP32", [*card.output.shape])]
    return [("probabilities", "FP32", [len(classes)]), ("labels", "BYTES", [])]
