"""Valid requests to every surface of the service, which mutations then break."""

import gzip
import io
import json
from collections.abc import Callable
from functools import cache
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
from pyarrow import parquet
from safetensors.numpy import save

from app.jobs.model_files import read_model_files
from app.settings import REPOSITORY
from tests.api.asking import sine
from tests.api.data_files import csv_of, grouped_arrays, labelled_arrays, npz_of, zip_of
from tests.api.drawings import MODEL, drawing, in_base64, picture, saved
from tests.api.text_models import text_model

JSON, SAFETENSORS = "application/json", "application/vnd.safetensors"
OCTETS, FORM = "application/octet-stream", "multipart/form-data; boundary=h0stile"
TASKS = tuple(f"h-{number}" for number in range(20))
"""Tasks that hostile requests may change; what neighbours ask is another's."""
NAMES = ("h-model", "h-data", "sinusoid")


class Asked(NamedTuple):
    """A request, and the surface that it is counted under."""

    surface: str
    method: str
    path: str
    headers: dict[str, str]
    body: bytes = b""


def _json(surface: str, path: str, document: Any, **headers: str) -> Asked:
    return Asked(surface, "POST", path, {"Content-Type": JSON, **headers}, json.dumps(document).encode())


def _classes(num_rows: int = 4) -> dict[str, Any]:
    files = [drawing(number % 2, number // 2) for number in range(num_rows)]
    files[-1] = saved(picture(1, 0), "JPEG")
    return {"inputs": [in_base64(file) for file in files], "targets": ["a", "b"] * (num_rows // 2)}


def _adapts() -> list[Asked]:
    task = {"task_id": TASKS[0], "model": "sinusoid", "support": sine(4), "steps": 1, "ttl_seconds": 600}
    whole = {**task, "validation": sine(2), "learning_rate": 0.01, "append": False, "on_divergence": "best"}
    return [
        _json("adapt", "/adapt", whole),
        _json("adapt", "/adapt", {**task, "append": True, "support": sine(1)}, **{"Idempotency-Key": "h"}),
        _json("adapt", "/adapt", {"task_id": TASKS[1], "model": MODEL, "support": _classes()}),
        _json(
            "adapt",
            "/adapt",
            {"task_id": TASKS[2], "model": "h-text", "support": {"inputs": ["a b", "c"], "targets": ["x", "y"]}},
        ),
        _json("adapt/batch", "/adapt/batch", [task, {**task, "task_id": TASKS[3]}]),
    ]


def _predicts() -> list[Asked]:
    known = {"task_id": TASKS[4], "inputs": [[0.5], [1.0]]}
    stateless = {"model": "sinusoid", "support": sine(3), "inputs": [[0.5]], "steps": 2}
    pictures = {"model": MODEL, "support": _classes(), "inputs": _classes(2)["inputs"], "abstain_below": 0.5}
    return [
        _json("predict", "/predict", known),
        _json("predict", "/predict", stateless, **{"X-Request-Timeout-Ms": "60000"}),
        _json("predict", "/predict", pictures),
        _json("predict/batch", "/predict/batch", [known, stateless]),
    ]


def _tensors() -> list[Asked]:
    x, y = np.linspace(-1, 1, 4, dtype=np.float32)[:, None], np.ones(4, dtype=np.float32)
    headers = {"Content-Type": SAFETENSORS, "Accept": SAFETENSORS}
    adapt = save({"support.inputs": x, "support.targets": y}, {"request": json.dumps({"task_id": TASKS[5]})})
    predict = save({"inputs": x.astype(np.float64)}, {"request": json.dumps({"task_id": TASKS[6]})})
    tones = np.zeros((2, 1, 28, 28), dtype=np.uint8)
    request = json.dumps({"model": MODEL, "classes": ["a", "b"]})
    stateless = save({"support.inputs": tones, "support.targets": np.arange(2), "inputs": tones}, {"request": request})
    return [
        Asked("adapt in safetensors", "POST", "/adapt", headers, adapt),
        Asked("predict in safetensors", "POST", "/predict", headers, predict),
        Asked("predict in safetensors", "POST", "/predict", headers, stateless),
    ]


def _infers() -> list[Asked]:
    path = f"/v2/models/{TASKS[7]}/infer"
    tensor = {"name": "inputs", "datatype": "FP32", "shape": [2, 1]}
    raw = np.array([[0.5], [1.0]], dtype="<f4").tobytes()
    head = json.dumps(
        {
            "inputs": [{**tensor, "parameters": {"binary_data_size": len(raw)}}],
            "outputs": [{"name": "outputs", "parameters": {"binary_data": True}}],
        }
    ).encode()
    headers = {"Content-Type": OCTETS, "Inference-Header-Content-Length": str(len(head))}
    document = {"id": "1", "inputs": [{**tensor, "data": [0.5, 1.0]}], "outputs": [{"name": "outputs"}]}
    return [
        _json("infer", path, document),
        Asked("infer with raw tensors", "POST", path, headers, head + raw),
        _json("repository", f"/v2/repository/models/{TASKS[7]}/unload", {"parameters": {"unload_dependents": False}}),
        _json("repository", "/v2/repository/index", {}),
    ]


def _jobs() -> list[Asked]:
    job = {
        "name": "h-model", "learner": {"kind": "maml", "steps": 1, "learning_rate": 0.01},
        "network": {"kind": "mlp", "hidden": [4]}, "tasks": {"kind": "sinusoid", "shots": 5, "queries": 5},
        "iterations": 10, "meta_batch_size": 2, "validate_every": 5, "patience": None, "seed": 0,
    }  # fmt: skip
    of_data = {**job, "tasks": {"kind": "labelled", "dataset": "h-data", "ways": 2, "shots": [1, 2], "queries": 2}}
    return [_json("meta-train", "/meta-train", job), _json("meta-train", "/meta-train", of_data)]


def form_of(file: bytes, filename: str, spec: bytes) -> bytes:
    """Return a form with a file and its description."""
    part = b"--h0stile\r\nContent-Disposition: form-data; name="
    head = part + b'"file"; filename="' + filename.encode() + b'"\r\n\r\n'
    return head + file + b"\r\n" + part + b'"spec"\r\n\r\n' + spec + b"\r\n--h0stile--\r\n"


def _datasets() -> list[Asked]:
    grouped, labelled = grouped_arrays(6, 6), labelled_arrays(6, 4)
    columns: dict[str, Any] = {"g": grouped["groups"].tolist(), "x": grouped["inputs"][:, 0].tolist()}
    columns["y"] = grouped["targets"].tolist()
    table = io.BytesIO()
    parquet.write_table(pa.table(columns), table)
    numbers = {name: array for name, array in grouped.items() if name != "groups"}
    tensors = save({**numbers, "groups": np.arange(36) // 6})
    pictures = zip_of({f"{c}/{n}.png": drawing(c, n) for c in range(4) for n in range(2)})
    of_rows: dict[str, Any] = {"name": "h-rows", "kind": "grouped"}
    of_table = {**of_rows, "targets": "y", "group": "g", "split": {"seed": 1}}
    of_classes = {"name": "h-classes", "kind": "labelled"}
    files: list[tuple[str, bytes, str, dict[str, Any]]] = [
        ("npz", npz_of(grouped), "a.npz", of_rows),
        ("npz", npz_of(labelled), "a.npz", of_classes),
        ("CSV", csv_of(columns), "a.csv", of_table),
        ("Parquet", table.getvalue(), "a.parquet", of_table),
        ("safetensors", tensors, "a.safetensors", of_rows),
        ("zip", pictures, "a.zip", {**of_classes, "picture_size": 16}),
    ]
    return [
        Asked(
            f"data set: {form}",
            "POST",
            "/datasets",
            {"Content-Type": FORM},
            form_of(file, name, json.dumps(spec).encode()),
        )
        for form, file, name, spec in files
    ]


def _models() -> list[Asked]:
    weights = read_model_files(REPOSITORY / "models" / "sinusoid.safetensors").packed()
    headers = {"Content-Type": SAFETENSORS}
    return [
        Asked("model", "POST", "/models/h-model/versions", headers, weights),
        Asked("model", "POST", "/models/h-text/versions", headers, text_model()),
        _json("model", "/models/h-model/promote", {"version": 1}),
        _json("model", "/models/h-model/authority", {"authority": "weights"}),
    ]


PATHS = (
    "/tasks?model=sinusoid&limit=3",
    "/tasks/{task}",
    "/tasks/{task}/revisions?limit=2",
    "/tasks/{task}/support?revision=1",
    "/tasks/{task}/weights?form=delta",
    "/models?limit=1",
    "/models/{name}",
    "/models/{name}/versions/1/weights",
    "/datasets",
    "/datasets/{name}",
    "/meta-train?limit=1",
    "/meta-train/{task}",
    "/meta-train/{task}/events",
    "/meta-train/{task}/checkpoint",
    "/limits",
    "/healthz",
    "/readyz",
    "/problems/not-json",
    "/metrics",
    "/audit?limit=2",
    "/openapi.json",
    "/v2",
    "/v2/health/ready",
    "/v2/models/stats",
    "/v2/models/{task}",
    "/v2/models/{task}/ready",
    "/v2/models/{task}/config",
    "/v2/models/{task}/stats",
    "/v2/models/{task}/versions/1",
    "/v2/models/{task}/versions/1/stats",
)
OTHERS = (
    ("DELETE", "/tasks/{task}"),
    ("DELETE", "/tasks/{task}/support/0?if_revision=1"),
    ("DELETE", "/datasets/h-rows"),
    ("DELETE", "/models/h-model/versions/2"),
    ("POST", "/meta-train/{task}/cancel"),
    ("POST", "/meta-train/{task}/resume"),
)


def _paths() -> list[Asked]:
    gets = [("GET", path) for path in PATHS]
    return [
        Asked("ids and queries", method, path.replace("{task}", TASKS[8]).replace("{name}", NAMES[0]), {})
        for method, path in (*gets, *OTHERS)
    ]


@cache
def valid_requests() -> dict[str, tuple[Asked, ...]]:
    """Return the requests by surface; those with a body once more, compressed."""
    makers: tuple[Callable[[], list[Asked]], ...] = (
        _adapts,
        _predicts,
        _tensors,
        _infers,
        _jobs,
        _datasets,
        _models,
        _paths,
    )
    found: dict[str, list[Asked]] = {}
    for request in (request for make in makers for request in make()):
        found.setdefault(request.surface, []).append(request)
        if request.headers.get("Content-Type") == JSON:
            packed = {**request.headers, "Content-Encoding": "gzip"}
            found.setdefault("compressed bodies", []).append(
                request._replace(surface="compressed bodies", headers=packed, body=gzip.compress(request.body, mtime=0))
            )
    return {surface: tuple(requests) for surface, requests in found.items()}
