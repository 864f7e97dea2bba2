"""The meta-steps against those of other libraries, which are measured by a script of their own."""

import importlib
from collections.abc import Callable
from importlib.util import find_spec
from typing import Any, cast

from benchmarks.results import Figure
from benchmarks.speed_parts.conditions import Plan

SCRIPT = "benchmarks.meta_step_peers"


def measure(plan: Plan, command: str) -> tuple[list[Figure], dict[str, Any]]:
    """Run the script; its peers are installed in an environment of their own, see its first lines."""
    if find_spec(SCRIPT) is None:
        print(f"left out: there is no {SCRIPT}")
        return [], {}
    main = cast(Callable[[], list[Figure]], importlib.import_module(SCRIPT).main)
    return main(), {}
