"""A data set as the bytes that are kept of it, and as the wire describes it."""

import json
from typing import Any

from app.datasets.contents import split_is_by
from app.task_distributions.dataset import Dataset, is_pictures
from app.trees import from_bytes, metadata_of, to_bytes
from innerloop.wire import DatasetSpec

KEY = "dataset"
"""The key of all that is no tensor, in the metadata of a safetensors file."""
TENSORS = ("inputs", "targets", "groups")


def dataset_bytes(dataset: Dataset) -> bytes:
    """Return the data set as a safetensors file, equal for equal data sets; `dataset_of` undoes it."""
    fields = dataset._asdict()
    tensors = {name: fields.pop(name) for name in TENSORS}
    return to_bytes(tensors, {KEY: json.dumps(fields, ensure_ascii=False, sort_keys=True)})


def dataset_of(data: bytes) -> Dataset:
    """Return the data set that `dataset_bytes` made the bytes of; ValueError for other bytes."""
    metadata = metadata_of(data)
    if KEY not in metadata:
        raise ValueError(f"these bytes hold no data set: no {KEY!r} in the metadata")
    fields: dict[str, Any] = json.loads(metadata[KEY])
    for name, value in fields.items():
        fields[name] = tuple(value) if isinstance(value, list) else value
    fields["split"] = {part: tuple(members) for part, members in fields["split"].items()}
    return Dataset(**{**fields, **from_bytes(data)})


def describe(dataset: Dataset, spec: DatasetSpec) -> dict[str, Any]:
    """Return the fields of DatasetInfo that the data set and its spec say, as JSON has them."""
    classes = dataset.output_kind == "classification"
    return {
        "kind": dataset.kind,
        "rows": len(dataset.inputs),
        "classes": len(dataset.class_names) if classes else None,
        "groups": len(dataset.group_names) or None,
        "input": {"kind": "image" if is_pictures(dataset) else "vector", "shape": list(dataset.inputs.shape[1:])},
        "output": {
            "kind": dataset.output_kind,
            "shape": [len(dataset.class_names)] if classes else list(dataset.targets.shape[1:]),
        },
        "input_names": list(dataset.input_names) or None,
        "target_names": list(dataset.target_names) or None,
        "split": {
            "by": split_is_by(spec),
            "fractions": spec.split.fractions,
            "seed": spec.split.seed,
            **{part: len(members) for part, members in dataset.split.items()},
        },
    }
