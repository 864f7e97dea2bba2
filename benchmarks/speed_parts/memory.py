"""What a cached task takes of memory, over the bytes of its tensors, by what a process of its own grows by."""

import json
import os
import subprocess
import sys
from typing import Any, NamedTuple

from benchmarks.results import ROOT, Figure
from benchmarks.speed_parts.conditions import Plan, rounded
from benchmarks.speed_parts.targets import TARGETS

KIB = 1024
GIVE_UP_SECONDS = 300.0


class Found(NamedTuple):
    """Bytes of one cached task."""

    tensors: int
    adapted: float
    """Of memory, where it was just adapted."""
    loaded: float
    """Of memory, where it came from the store."""


def measure(plan: Plan, command: str) -> tuple[list[Figure], dict[str, Any]]:
    """Fill caches in a process of their own."""
    arguments = [sys.executable, "-m", "benchmarks.speed_parts.filled_cache", str(plan.num_tasks)]
    done = subprocess.run(
        arguments, cwd=ROOT, check=True, stdout=subprocess.PIPE, timeout=GIVE_UP_SECONDS, env=one_thread()
    )
    found = Found(*json.loads(done.stdout))
    return figures(found, command), {name: rounded(value) for name, value in found._asdict().items()}


def one_thread() -> dict[str, str]:
    """Return this environment with one thread for tensors."""
    return {**os.environ, "OMP_NUM_THREADS": "1"}


def figures(found: Found, command: str) -> list[Figure]:
    """Return the figure of the dearer of both ways into the cache."""
    ratio = (max(found.adapted, found.loaded) - KIB) / found.tensors
    detail = f"{found.adapted:.0f} bytes adapted, {found.loaded:.0f} loaded, tensors {found.tensors}"
    return [TARGETS["memory"].figure(ratio, detail, command)]
