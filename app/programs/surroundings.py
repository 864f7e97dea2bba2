"""What a compiled program depends on beside its specification: the processor, torch and the sources of ours."""

import hashlib
import json
import platform
from functools import lru_cache
from pathlib import Path

import torch

APP = Path(__file__).resolve().parent.parent
SOURCES = ("card.py", "episode.py", "trees.py", "learners/*.py", "networks/*.py", "programs/*.py")
"""Beneath `APP`, what the numbers of every program depend on."""


@lru_cache
def surroundings(*more_sources: str) -> str:
    """Return what differs where code that was compiled elsewhere or before is of no use.

    `more_sources` are patterns beneath `APP`, of sources that these programs depend on too.
    """
    about_cpu = Path("/proc/cpuinfo")
    lines = about_cpu.read_text().splitlines() if about_cpu.exists() else []
    processor = "".join(sorted({line for line in lines if line.startswith(("flags", "model name", "Features"))}))
    sources = [path.read_bytes() for pattern in (*SOURCES, *more_sources) for path in sorted(APP.glob(pattern))]
    return json.dumps(
        [
            torch.__version__,
            torch.backends.cpu.get_cpu_capability(),
            platform.machine(),
            hashlib.sha256(processor.encode()).hexdigest(),
            hashlib.sha256(b"".join(sources)).hexdigest(),
        ]
    )


def key_of(spec_json: str, *more_sources: str) -> str:
    """Return what a program is stored under: another machine, torch or source of ours has other programs."""
    return hashlib.sha256(f"{spec_json}{surroundings(*more_sources)}".encode()).hexdigest()
