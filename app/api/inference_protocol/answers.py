"""Answers to `infer`: JSON, and the raw tensors after it."""

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import orjson

from app.api.codec import answer_rows
from app.api.inference_protocol.datatypes import bytes_of_texts
from app.api.inference_protocol.requests import InferRequest, WantedOutput
from app.api.predicting import Predicted
from innerloop.errors import BadRequest

Tensor = npt.NDArray[np.float32] | list[str]
"""FP32, or BYTES."""


class InferAnswer(NamedTuple):
    """A body."""

    data: bytes
    header_bytes: int | None
    """Of its JSON, where raw tensors follow it."""


def infer_answer(predicted: Predicted, asked: InferRequest) -> InferAnswer:
    """Return the answer to a request; BadRequest for an output that the task does not have."""
    tensors = _tensors(predicted)
    wanted = asked.outputs or tuple(WantedOutput(name, asked.is_binary) for name in tensors)
    unknown = [output.name[:64] for output in wanted if output.name not in tensors]
    if unknown:
        raise BadRequest(f"there is no output {unknown[0]!r}; the task has {', '.join(tensors)}")
    written = [_written(output, tensors[output.name]) for output in wanted]
    document: dict[str, Any] = {
        "model_name": predicted.task_id,
        "model_version": str(predicted.revision),
        "outputs": [output for output, _ in written],
    }
    if asked.id is not None:
        document["id"] = asked.id
    header = orjson.dumps(document, option=orjson.OPT_SERIALIZE_NUMPY)
    raw = [data for _, data in written if data is not None]
    return InferAnswer(b"".join((header, *raw)), len(header) if raw else None)


def _tensors(predicted: Predicted) -> dict[str, Tensor]:
    """Return all outputs by name; a label is empty where `abstain_below` left it out."""
    rows = answer_rows(predicted.outputs, predicted.classes, predicted.abstain_below)
    if predicted.classes is None:
        return {"outputs": np.ascontiguousarray(rows["outputs"], dtype="<f4")}
    labels = ["" if label is None else str(label) for label in rows["labels"]]
    return {"probabilities": rows["probabilities"].astype("<f4", copy=False), "labels": labels}


def _written(output: WantedOutput, tensor: Tensor) -> tuple[dict[str, Any], bytes | memoryview | None]:
    """Return what the JSON says of an output, and its raw bytes where they follow."""
    is_text = isinstance(tensor, list)
    shape = [len(tensor)] if is_text else [*np.shape(tensor)]
    told: dict[str, Any] = {"name": output.name, "datatype": "BYTES" if is_text else "FP32", "shape": shape}
    if not output.is_binary:
        return {**told, "data": tensor if isinstance(tensor, list) else tensor.ravel()}, None
    raw = bytes_of_texts(tensor) if isinstance(tensor, list) else tensor.data.cast("B") if tensor.size else b""
    return {**told, "parameters": {"binary_data_size": len(raw)}}, raw
