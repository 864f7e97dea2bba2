"""Answers of the service about versions, data sets and jobs, as they come over the wire."""

from typing import Any

VERSION: dict[str, Any] = {
    "version": 1,
    "created_at": "2026-11-21T10:00:00Z",
    "learner": {"kind": "maml", "steps": 1},
    "network": {"kind": "mlp", "hidden": [40, 40]},
    "input": {"kind": "vector", "shape": [1]},
    "output": {"kind": "regression", "shape": [1]},
    "default_steps": 5,
    "max_steps": 100,
    "bytes": 6800,
    "sha256": "00",
    "provenance": {},
    "metrics": {},
}
DATASET: dict[str, Any] = {
    "name": "assays",
    "kind": "grouped",
    "rows": 5875,
    "classes": None,
    "groups": 42,
    "input": {"kind": "vector", "shape": [19]},
    "output": {"kind": "regression", "shape": [1]},
    "input_names": ["age", "sex"],
    "target_names": ["total_UPDRS"],
    "split": {
        "by": "group", "fractions": [0.7, 0.15, 0.15], "seed": 0, "train": 30, "validation": 6, "test": 6,
    },
    "bytes": 500_000,
    "sha256": "00",
    "created_at": "2026-11-21T10:00:00Z",
}  # fmt: skip
REQUEST: dict[str, Any] = {
    "name": "assays",
    "learner": {"kind": "maml", "steps": 1},
    "network": {"kind": "mlp", "hidden": [40, 40]},
    "tasks": {"kind": "grouped", "dataset": "assays", "shots": [5, 20]},
    "patience": None,
}
PROGRESS: dict[str, Any] = {
    "iteration": 1200,
    "iterations": 20000,
    "meta_loss": 0.61,
    "validation_loss": 0.58,
    "validation_accuracy": None,
    "tasks_per_second": 4100.0,
    "eta_seconds": 110.0,
}
JOB: dict[str, Any] = {
    "job_id": "j-1",
    "status": "running",
    "name": "assays",
    "model_version": None,
    "progress": PROGRESS,
    "created_at": "2026-11-21T10:00:00Z",
    "started_at": "2026-11-21T10:00:01Z",
    "finished_at": None,
    "error": None,
    "request": REQUEST,
}
SUCCEEDED: dict[str, Any] = {**JOB, "status": "succeeded", "model_version": 3, "finished_at": "2026-11-21T10:10:00Z"}
FAILED: dict[str, Any] = {
    **JOB,
    "status": "failed",
    "error": {
        "type": "/problems/training-diverged",
        "title": "Meta-training became non-finite",
        "status": 422,
        "code": "training-diverged",
        "detail": "the meta-loss is not finite at iteration 1300",
        "error": "the meta-loss is not finite at iteration 1300",
        "remedy": "Lower the rates.",
        "request_id": "",
        "errors": [],
    },
}
# The smallest safetensors file: an empty header.
WEIGHTS = (2).to_bytes(8, "little") + b"{}"


def page(*data: object, following: str | None = None) -> dict[str, Any]:
    return {"data": list(data), "has_more": following is not None, "next": following}
