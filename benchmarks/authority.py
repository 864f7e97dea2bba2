"""What it costs to store a task's weights, and to adapt again from its rows instead: bytes, and time of a prediction.

A service with no cache of tasks is asked in turn for tasks of both kinds.
"""

import argparse
import json
import statistics
import time
from typing import Any

import httpx
import numpy as np

from benchmarks.results import machine
from benchmarks.service import served

ROUNDS = 200
ROWS = 10


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="sinusoid")
    asked = parser.parse_args()
    with served(task_cache_bytes=0) as url:
        found = measured(httpx.Client(base_url=url, timeout=60.0), asked.model)
    print(json.dumps({"machine": machine(), "model": asked.model, **found}, indent=1))


def measured(http: httpx.Client, model: str) -> dict[str, Any]:
    """Return bytes in the store and the median milliseconds of a prediction, by authority."""
    inputs = np.linspace(-4.5, 4.5, ROWS)[:, None]
    support = {"inputs": inputs.tolist(), "targets": np.sin(inputs[:, 0]).tolist()}
    for authority in ("weights", "rows"):
        http.post(f"/models/{model}/authority", json={"authority": authority}).raise_for_status()
        http.post("/adapt", json={"task_id": authority, "model": model, "support": support}).raise_for_status()
    times: dict[str, list[float]] = {"weights": [], "rows": []}
    for _ in range(ROUNDS):
        for authority, spans in times.items():
            began = time.perf_counter()
            http.post("/predict", json={"task_id": authority, "inputs": [[0.5]]}).raise_for_status()
            spans.append((time.perf_counter() - began) * 1e3)
    return {
        authority: {
            "bytes": http.get(f"/tasks/{authority}").json()["bytes"],
            "predict_p50_ms": round(statistics.median(spans), 2),
        }
        for authority, spans in times.items()
    }


if __name__ == "__main__":
    main()
