"""What a large body costs: predictions of many rows of a wide model, in JSON and as safetensors.

Binary bodies against an endpoint that reads the bytes and does no more, asked by one caller. JSON against the parser
and the conversion alone, in one process: what the service does from the body's bytes to its array of numbers, checks
included. For JSON too the whole call is told beside an endpoint that parses; and what a call costs beside its body, by
one of a single row.
"""

import statistics
import time
from contextlib import ExitStack
from typing import Any

import httpx
import numpy as np
import orjson
import torch
from safetensors.numpy import save

from app.api.body import parsed
from app.api.numbers import numbers as numbers_of
from app.card import Card, InputCard, OutputCard
from app.jobs.model_files import ModelFiles
from app.learners.model import as_tree, learner_of
from app.trees import to_bytes
from benchmarks.load import Request, closed_loop, in_turn, post
from benchmarks.results import Figure
from benchmarks.service import Server, peer, service
from benchmarks.speed_parts.conditions import Plan, Rounds, Side, first_answers, in_rounds, rounded
from benchmarks.speed_parts.targets import TARGETS
from innerloop.wire import PredictRequest

WIDTH = 1000
SIZES = (10_000, 1_000_000)
NAME, TASK = "wide", "wide-task"
SAFETENSORS = "application/vnd.safetensors"
OURS, PEER = "innerloop", "peer"
PATHS = {"binary": "/bytes", "json": "/numbers"}
"""Which peer endpoint a form is compared with."""


def measure(plan: Plan, command: str) -> tuple[list[Figure], dict[str, Any]]:
    """Measure both forms at each size, and at a single row."""
    with ExitStack() as running:
        ours, large = running.enter_context(service()), running.enter_context(peer("large"))
        register(ours)
        forms = {form: sides_of(form, ours, large) for form in PATHS if takes(ours, form)}
        found = {
            form: {size: _asked(sides, plan, size) for size, sides in by_size.items()}
            for form, by_size in forms.items()
        }
    numbers: dict[str, Any] = {
        form: {str(size): _numbers(one) for size, one in by_size.items()} for form, by_size in found.items()
    }
    readings = {size: reading_ms(size) for size in SIZES}
    numbers["reading JSON"] = {
        str(size): {"ours_ms": rounded(ours), "orjson_asarray_ms": rounded(theirs)}
        for size, (ours, theirs) in readings.items()
    }
    made = [figure for form, by_size in found.items() for figure in figures(form, by_size, readings, command)]
    return made, numbers


def reading_ms(size: int, rounds: int = 15) -> tuple[float, float]:
    """Return the median milliseconds from a JSON body to its checked array, ours and orjson's with np.asarray."""
    body = orjson.dumps({"task_id": TASK, "inputs": rows(size)}, option=orjson.OPT_SERIALIZE_NUMPY)

    def ours() -> Any:
        return numbers_of(parsed(body, PredictRequest).inputs, "inputs", (WIDTH,), NAME)

    def theirs() -> Any:
        return np.asarray(orjson.loads(body)["inputs"], dtype=np.float32)

    assert np.array_equal(ours(), theirs())
    times: tuple[list[float], list[float]] = ([], [])
    for _ in range(rounds):
        for reader, taken in zip((ours, theirs), times, strict=True):
            began = time.perf_counter()
            reader()
            taken.append((time.perf_counter() - began) * 1e3)
    return statistics.median(times[0]), statistics.median(times[1])


def _asked(sides: dict[str, Side], plan: Plan, size: int) -> dict[str, Rounds]:
    first_answers(list(sides.values()))
    return in_rounds(sides, 1, plan if size == max(SIZES) else plan._replace(seconds=plan.seconds / 2))


def wide_model() -> ModelFiles:
    """Return a model of a thousand inputs whose network has one hidden unit, so that there is little to compute."""
    card = Card(
        name=NAME,
        learner={"kind": "maml", "steps": 1, "learning_rate": 0.01},
        network={"kind": "mlp", "hidden": [1]},
        loss="squared",
        input=InputCard(kind="vector", shape=(WIDTH,)),
        output=OutputCard(kind="regression", shape=(1,)),
        num_train_classes=0,
        default_steps=1,
        max_steps=1,
    )
    return ModelFiles(card, to_bytes(as_tree(learner_of(card).init(torch.Generator().manual_seed(0)))))


def register(server: Server) -> None:
    """Upload the wide model and adapt a task of it."""
    upload = httpx.post(
        f"{server.url}/models/{NAME}/versions", content=wide_model().packed(), headers={"Content-Type": SAFETENSORS}
    )
    upload.raise_for_status()
    support = {"inputs": rows(2 * WIDTH).tolist(), "targets": [0.0, 1.0]}
    body = {"task_id": TASK, "model": NAME, "support": support, "estimate": False}
    httpx.post(f"{server.url}/adapt", json=body, timeout=60.0).raise_for_status()


def rows(size: int) -> "np.ndarray[Any, np.dtype[np.float32]]":
    """Return rows of the wide model with `size` numbers in all."""
    return np.random.default_rng(0).standard_normal((size // WIDTH, WIDTH), dtype=np.float32)


def request_of(form: str, path: str, size: int) -> Request:
    """Return a prediction of so many numbers."""
    if form == "json":
        body = {"task_id": TASK, "inputs": rows(size)}
        return post(path, orjson.dumps(body, option=orjson.OPT_SERIALIZE_NUMPY))
    data = save({"inputs": rows(size)}, {"request": orjson.dumps({"task_id": TASK}).decode()})
    return post(path, data, SAFETENSORS, f"Accept: {SAFETENSORS}\r\n")


def takes(server: Server, form: str) -> bool:
    """Tell whether the service takes a form."""
    try:
        closed_loop(server.port, iter([request_of(form, "/predict", WIDTH)]), 1)
    except RuntimeError as error:
        print(f"left out: {form}: {error}")
        return False
    return True


def sides_of(form: str, ours: Server, large: Server) -> dict[int, dict[str, Side]]:
    """Return both sides, by the size of their body."""
    found: dict[int, dict[str, Side]] = {}
    for size in (WIDTH, *SIZES):
        asked, compared = [request_of(form, path, size) for path in ("/predict", PATHS[form])]
        found[size] = {OURS: _side(ours, asked), PEER: _side(large, compared)}
    return found


def _side(server: Server, request: Request) -> Side:
    return Side(server, lambda: in_turn([request]))


def figures(
    form: str, found: dict[int, dict[str, Rounds]], readings: dict[int, tuple[float, float]], command: str
) -> list[Figure]:
    """Return the figure of each size; `readings` as `reading_ms` gives them."""
    return [_figure(form, size, found[size], found[WIDTH], readings[size], command) for size in SIZES]


def _figure(
    form: str,
    size: int,
    large: dict[str, Rounds],
    single: dict[str, Rounds],
    reading: tuple[float, float],
    command: str,
) -> Figure:
    ours, theirs = body_ms(large[OURS], single[OURS]), body_ms(large[PEER], single[PEER])
    detail = (
        f"{large[OURS].p50_ms:.2f} ms against {large[PEER].p50_ms:.2f} ms; "
        f"over a body of one row {ours:.2f} against {theirs:.2f} ms"
    )
    ratio = large[OURS].over(large[PEER], lambda load: load.p50_ms)
    if form == "json":
        ratio = reading[0] / reading[1]
        detail = f"{reading[0]:.2f} ms against {reading[1]:.2f} ms; whole calls {detail}"
    return TARGETS[f"{form}-{size}"].figure(ratio, detail, command)


def body_ms(large: Rounds, single: Rounds) -> float:
    """Return what a body costs beyond one of a single row."""
    return large.p50_ms - single.p50_ms


def _numbers(sides: dict[str, Rounds]) -> dict[str, Any]:
    return {name: {"p50_ms": rounded(one.p50_ms), "p99_ms": rounded(one.p99_ms)} for name, one in sides.items()}
