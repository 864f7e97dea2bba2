"""schemathesis against a running service, as the test and the long script call it."""

import os
import subprocess
import sys
from pathlib import Path

import httpx

from app.settings import REPOSITORY
from tests.api.asking import sine
from tests.api.data_files import labelled_arrays, npz_of, send
from tests.api.service import Service
from tests.serving.schemathesis_hooks import DATASET, NUM_TASKS, OWN_MODEL

CONFIG = Path(__file__).parent / "schemathesis.toml"


def fill(http: httpx.Client) -> None:
    """Make what the requests of the fuzzer then find: tasks, a data set, a model of the caller's own."""
    bodies = [{"task_id": f"fuzzed-{number}", "support": sine(3), "model": "sinusoid"} for number in range(NUM_TASKS)]
    assert all("revision" in answer for answer in http.post("/adapt/batch", json=bodies).json())
    send(http, npz_of(labelled_arrays()), "a.npz", name=DATASET, kind="labelled").raise_for_status()
    weights = http.get("/models/sinusoid/versions/1/weights").content
    headers = {"Content-Type": "application/vnd.safetensors"}
    http.post(f"/models/{OWN_MODEL}/versions", content=weights, headers=headers).raise_for_status()


def fuzz(
    service: Service,
    *,
    seed: int,
    max_examples: int,
    phases: str = "examples,coverage,fuzzing,stateful",
    key: str | None = None,
    timeout_seconds: float = 600.0,
) -> "subprocess.CompletedProcess[str]":
    """Hold every operation of the service's own description against all checks."""
    command = [
        sys.executable, "-W", "ignore", "-m", "schemathesis.cli", "--config-file", str(CONFIG), "run",
        f"{service.url}/openapi.json", "--checks", "all", "--seed", str(seed), "--max-examples", str(max_examples),
        "--generation-database", "none", "--no-shrink", "--continue-on-failure", "--warnings", "off",
        "--phases", phases,
        *(["--header", f"Authorization: Bearer {key}"] if key else []),
    ]  # fmt: skip
    environment = {**os.environ, "NO_COLOR": "1", "COLUMNS": "120"}
    return subprocess.run(
        command, cwd=REPOSITORY, env=environment, capture_output=True, text=True, timeout=timeout_seconds, check=False
    )
