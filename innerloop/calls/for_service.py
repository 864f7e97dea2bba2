"""Build the requests that ask the service about itself."""

from innerloop import wire
from innerloop.calls.call import Call, segment


def limits() -> Call[wire.Limits]:
    """Build `GET /limits`."""
    return Call("GET", "/limits", wire.Limits.model_validate_json)


def health() -> Call[wire.Health]:
    """Build `GET /healthz`."""
    return Call("GET", "/healthz", wire.Health.model_validate_json)


def ready() -> Call[wire.Readiness]:
    """Build `GET /readyz`; a 503 that carries the reasons is an answer."""
    return Call("GET", "/readyz", wire.Readiness.model_validate_json, also_reads=(503,))


def problem(code: str) -> Call[wire.ProblemInfo]:
    """Build `GET /problems/{code}`."""
    return Call("GET", f"/problems/{segment(code)}", wire.ProblemInfo.model_validate_json)
