"""Build the requests that carry many calls, and read their answers, each an answer or an error."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, Required, TypeVar

from pydantic import BaseModel, TypeAdapter

from innerloop import wire
from innerloop.calls.call import Call
from innerloop.calls.for_tasks import AdaptFields, PredictFields, body_of
from innerloop.encoding import Rows, encode
from innerloop.errors import InnerloopError, InvalidRequest, error_of

Answer = TypeVar("Answer", bound=BaseModel)


class AdaptOne(AdaptFields, total=False):
    """One adaptation of a batch: its rows, and what `adapt` takes beside them but for a key, a deadline and a form."""

    inputs: Required[Rows]
    targets: Required[Rows]


class PredictOne(PredictFields, total=False):
    """One prediction of a batch: its rows, and what `predict` takes beside them but for a deadline and a form."""

    inputs: Required[Rows]


def adapt_batch(requests: Sequence[AdaptOne]) -> Call[list[wire.AdaptAnswer | InnerloopError]]:
    """Build `POST /adapt/batch`; not repeatable, since nothing tells which of its calls were done."""
    bodies = []
    for one in requests:
        _check_names(one)
        rest = {name: value for name, value in one.items() if name not in ("inputs", "targets")}
        bodies.append(body_of({"support": (one["inputs"], one["targets"]), **rest}))
    return _batch("/adapt/batch", bodies, wire.AdaptAnswer, repeatable=False)


def predict_batch(requests: Sequence[PredictOne]) -> Call[list[wire.PredictAnswer | InnerloopError]]:
    """Build `POST /predict/batch`."""
    for one in requests:
        _check_names(one)
    return _batch("/predict/batch", [body_of({**one}) for one in requests], wire.PredictAnswer)


def _check_names(one: Mapping[str, Any]) -> None:
    """Refuse what belongs to a request as a whole: left out silently, a caller would rely on it."""
    wrong = sorted(one.keys() & {"idempotency_key", "timeout_ms", "binary"})
    if wrong:
        raise InvalidRequest(f"{wrong[0]} is not taken for one call of a batch; send such calls one by one")


def _batch(
    path: str, bodies: Sequence[Mapping[str, Any]], answer: type[Answer], *, repeatable: bool = True
) -> Call[list[Answer | InnerloopError]]:
    headers = {"Content-Type": "application/json"}
    return Call("POST", path, _reader(answer), content=encode(bodies), headers=headers, repeatable=repeatable)


def _reader(answer: type[Answer]) -> Callable[[bytes], list[Answer | InnerloopError]]:
    adapter: TypeAdapter[list[Answer | wire.Problem]] = TypeAdapter(list[answer | wire.Problem])  # type: ignore[valid-type]
    return partial(_read, adapter)


def _read(adapter: "TypeAdapter[list[Answer | wire.Problem]]", body: bytes) -> list[Answer | InnerloopError]:
    return [_error(one) if isinstance(one, wire.Problem) else one for one in adapter.validate_json(body)]


def _error(problem: wire.Problem) -> InnerloopError:
    errors = [{"loc": entry.loc, "msg": entry.msg} for entry in problem.errors]
    error = error_of(problem.code, problem.detail, errors=errors)  # type: ignore[arg-type]
    error.request_id = problem.request_id
    return error
