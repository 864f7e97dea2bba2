"""What schemathesis cannot know: how bytes are sent, and the names of what the service holds."""

import re
import zlib
from typing import Any

import schemathesis

NUM_TASKS = 40
"""Tasks `fuzzed-0` and so on, made before: each may be deleted on the way."""
ID = re.compile(r"[A-Za-z0-9_-]{1,64}")
MILLISECONDS = re.compile(r"[1-9][0-9]{0,7}(\.[0-9]{1,9})?|0\.0{0,8}[1-9][0-9]{0,8}", re.ASCII)
OWN_MODEL, DATASET = "fuzzed-model", "fuzzed-data"


@schemathesis.serializer("application/vnd.safetensors")
def as_it_is(context: schemathesis.SerializationContext, value: Any) -> bytes:
    """Send bytes as they are."""
    return value if isinstance(value, bytes) else str(value).encode("utf-8", "surrogatepass")


@schemathesis.hook
def map_path_parameters(context: schemathesis.HookContext, path_parameters: dict[str, Any] | None) -> Any:
    """Put something that is there in the place of half of the ids that are well-formed."""
    for name, value in (path_parameters or {}).items():
        number = zlib.crc32(repr(value).encode("utf-8", "surrogatepass"))
        if isinstance(value, str) and ID.fullmatch(value) and number % 2:
            known = {"task_id": f"fuzzed-{number % NUM_TASKS}", "name": _name(context, number)}
            path_parameters[name] = known.get(name, value)  # type: ignore[index]  # it has items
        elif name in ("revision", "version") and isinstance(value, int) and value > 0 and number % 2:
            path_parameters[name] = 1  # type: ignore[index]
    return path_parameters


@schemathesis.hook
def before_call(context: schemathesis.HookContext, case: schemathesis.Case[Any], kwargs: dict[str, Any]) -> None:
    """Let callers who say rightly how long they wait, wait a minute: 504 after 2 ms is what they asked for."""
    for name, value in dict(case.headers or {}).items():
        if name.lower() == "x-request-timeout-ms" and isinstance(value, str) and MILLISECONDS.fullmatch(value):
            case.headers[name] = "60000"


def _name(context: schemathesis.HookContext, number: int) -> str:
    """Return a data set's name or a model's, the shipped one's among them."""
    if context.operation is not None and context.operation.path.startswith("/datasets"):
        return DATASET
    return (OWN_MODEL, "sinusoid")[number // 2 % 2]
