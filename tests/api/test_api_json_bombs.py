"""Claims about JSON that is small on the wire and large once parsed: every surface refuses it before it is parsed."""

import asyncio
import gc
import gzip
import json
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save

from app.api.context import Context
from innerloop.wire import ValidationRows
from tests.api.asking import JSON, adapt, problem_of, sine
from tests.api.data_files import grouped_arrays, npz_of, upload
from tests.api.service import Service, start_service
from tests.api.test_api_batched import device_busy, in_line, served
from tests.api.test_api_bombs import SAFETENSORS, Memory

MIB = 1024 * 1024
NUM_LISTS = 6_000_000
"""18 MiB of text, and half a gigabyte once parsed."""
GROWS_BY = 160 * MIB
"""At most: the text itself, a few times."""
RAW = {"Content-Type": "application/octet-stream"}
GROUPED: dict[str, Any] = {"name": "bomb", "kind": "grouped"}


@cache
def lists(num: int = NUM_LISTS) -> bytes:
    return b"[" + b"[]," * num + b"0]"


def support_of_lists() -> bytes:
    return b'{"support":{"inputs":' + lists() + b',"targets":[1]}}'


def query_of_lists() -> bytes:
    return b'{"task_id":"bombed","inputs":' + lists() + b"}"


def infer_of_lists() -> bytes:
    return b'{"inputs":[{"name":"inputs","datatype":"FP32","shape":[1,1],"data":' + lists() + b"}]}"


def header_of_lists() -> bytes:
    header = b'{"inputs":{"dtype":"F32","data_offsets":[0,0],"shape":' + lists() + b"}}"
    return len(header).to_bytes(8, "little") + header


def request_of_lists(escaped: bool) -> bytes:
    """Return a body whose JSON within JSON is the bomb; escaped, so that the outer one does not look like it."""
    header = json.dumps({"__metadata__": {"request": '{"task_id":"bombed","x":' + lists().decode() + "}"}}).encode()
    if escaped:
        header = header.replace(b"[", b"\\u005b")
    return len(header).to_bytes(8, "little") + header


def card_of_lists() -> bytes:
    return save({"a": np.zeros(1, dtype=np.float32)}, {"card": '{"metrics":' + lists().decode() + "}"})


SURFACES: dict[str, tuple[str, dict[str, str], Callable[[], bytes]]] = {
    "adapt": ("/adapt", JSON, support_of_lists),
    "predict": ("/predict", JSON, query_of_lists),
    "a batch of adapt": ("/adapt/batch", JSON, lambda: b"[" + support_of_lists() + b"]"),
    "a batch of predict": ("/predict/batch", JSON, lists),
    "meta-train": ("/meta-train", JSON, lambda: b'{"name":"a","tasks":' + lists() + b"}"),
    "infer": ("/v2/models/bombed/infer", JSON, infer_of_lists),
    "infer with raw tensors": ("/v2/models/bombed/infer", RAW, infer_of_lists),
    "adapt in safetensors": ("/adapt", SAFETENSORS, header_of_lists),
    "predict in safetensors": ("/predict", SAFETENSORS, header_of_lists),
    "the request of a safetensors body": ("/predict", SAFETENSORS, lambda: request_of_lists(escaped=False)),
    "the same, escaped": ("/predict", SAFETENSORS, lambda: request_of_lists(escaped=True)),
    "a model's shapes": ("/models/bombed/versions", SAFETENSORS, header_of_lists),
    "a model's card": ("/models/bombed/versions", SAFETENSORS, card_of_lists),
}


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """A service that has seen a request of each kind, so that no library is loaded while memory is watched."""
    running = start_service(tmp_path_factory.mktemp("json-bombs"), job_worker=0)
    adapt(running.http, support=sine(3), task_id="bombed")
    running.http.post("/predict", json={"task_id": "bombed", "inputs": [[0.5]] * 10_000}).raise_for_status()
    upload(running.http, npz_of(grouped_arrays()), "a.npz", name="warm", kind="grouped")
    yield running
    running.stop()


@pytest.fixture
def grown(service: Service) -> Iterator[Callable[[], int]]:
    """How much more memory the service held at once than before the test; it answers as before at the end."""
    memory = Memory(service)
    before = memory.forget_peak()
    yield lambda: memory.peak() - before
    adapt(service.http, support=sine(3))


@pytest.mark.parametrize("surface", SURFACES)
def test_every_surface_refuses_lists_of_nothing(service: Service, surface: str, request: pytest.FixtureRequest) -> None:
    path, headers, make = SURFACES[surface]
    body = make()
    if surface == "infer with raw tensors":
        headers = {**headers, "Inference-Header-Content-Length": str(len(body))}
    packed = gzip.compress(body, 1)
    grown = request.getfixturevalue("grown")
    response = service.http.post(path, content=packed, headers={**headers, "Content-Encoding": "gzip"})
    problem = problem_of(response, 413, "body-too-large")
    assert "at most" in problem.detail
    assert grown() < GROWS_BY, f"memory grew by {grown() / MIB:.0f} MiB"


def test_the_description_of_a_data_set_is_short(service: Service, grown: Callable[[], int]) -> None:
    spec = {"spec": (None, b'{"name":"bomb","kind":' + lists(330_000) + b"}", "application/json")}
    file = {"file": ("a.npz", npz_of(grouped_arrays()))}
    problem_of(service.http.post("/datasets", files={**file, **spec}), 422, "invalid-request")
    assert grown() < GROWS_BY


def test_bombs_that_come_together_are_refused_while_others_are_answered(
    service: Service, grown: Callable[[], int]
) -> None:
    packed, headers = gzip.compress(support_of_lists(), 1), {**JSON, "Content-Encoding": "gzip"}
    with ThreadPoolExecutor(6) as threads:
        answers = [threads.submit(service.http.post, "/adapt", content=packed, headers=headers) for _ in range(6)]
        while not all(answer.done() for answer in answers):
            assert service.http.get("/healthz").status_code == 200
    for answer in answers:
        problem_of(answer.result(), 413, "body-too-large")
    assert grown() < 6 * GROWS_BY


def test_numbers_that_no_float_holds_are_refused_without_being_kept(service: Service, request: Any) -> None:
    packed = gzip.compress(b'{"task_id":"bombed","inputs":[' + b"1e999," * 2_000_000 + b"1]}", 1)
    grown = request.getfixturevalue("grown")
    response = service.http.post("/predict", content=packed, headers={**JSON, "Content-Encoding": "gzip"})
    problem_of(response, 422, "not-finite")
    assert grown() < 100 * MIB, f"memory grew by {grown() / MIB:.0f} MiB"


@pytest.mark.parametrize("number", ["1e999", "-1e999", "NaN", "Infinity", "9" * 400])
def test_one_number_that_no_float_holds_is_found_wherever_it_is(service: Service, number: str) -> None:
    body = f'{{"task_id":"bombed","inputs":[[1.0],[2],[{number}],[0.5]]}}'.encode()
    problem_of(service.http.post("/predict", content=body, headers=JSON), 422, "not-finite")
    cut_off = body[:-2]
    problem_of(service.http.post("/predict", content=cut_off, headers=JSON), 400, "not-json")


def test_as_many_rows_as_the_limits_say_are_taken(service: Service) -> None:
    rows = [[i * 1e-4] for i in range(10_000)]
    many = {"inputs": rows, "targets": [0.0] * 10_000}
    adapt(service.http, support=sine(1000), validation=many)
    answers = service.http.post("/predict/batch", json=[{"task_id": "bombed", "inputs": rows}] * 20).json()
    assert [len(answer["outputs"]) for answer in answers] == [10_000] * 20
    fields = {"request": json.dumps({"task_id": "bombed", "inputs": rows})}
    response = service.http.post("/predict", content=save({}, fields), headers=SAFETENSORS)
    assert len(response.json()["outputs"]) == 10_000


async def test_rows_of_a_large_body_are_not_kept_as_lists_while_they_wait_for_the_device(tmp_path: Path) -> None:
    many = {"inputs": [[0.123456789012345678]] * 10_000, "targets": [0.123456789012345678] * 10_000}
    async with served(tmp_path) as (http, context):
        async with device_busy(context):
            asked = asyncio.create_task(http.post("/adapt", json={"support": sine(5), "validation": many}))
            await in_line(context, 2)
            gc.collect()
            assert not [held for held in gc.get_objects() if type(held) is ValidationRows]
        answer = await asked
        assert answer.status_code == 201
        assert answer.json()["validation"]["after"]["loss"] > 0


async def test_calls_for_one_task_with_large_bodies_run_one_after_the_other(tmp_path: Path) -> None:
    many = {"inputs": [[0.123456789012345678]] * 10_000, "targets": [0.123456789012345678] * 10_000}
    async with served(tmp_path) as (http, _):
        bodies = [{"task_id": "a", "support": sine(5 + i), "validation": many} for i in range(4)]
        answers = await asyncio.gather(*(http.post("/adapt", json=body) for body in bodies))
        assert sorted(answer.json()["revision"] for answer in answers) == [1, 2, 3, 4]


class Loads:
    """How many data sets were read of a store, and the most at once."""

    def __init__(self, context: Context) -> None:
        self.num = self.most = self._now = 0
        self._guard, self._read = threading.Lock(), context.store.dataset_bytes
        context.store.dataset_bytes = self._counted  # type: ignore[method-assign]  # the store's own, counted

    def _counted(self, tenant: str, name: str) -> bytes:
        with self._guard:
            self.num, self._now = self.num + 1, self._now + 1
            self.most = max(self.most, self._now)
        time.sleep(0.05)
        try:
            return self._read(tenant, name)
        finally:
            with self._guard:
                self._now -= 1


def training(**fields: Any) -> dict[str, Any]:
    tasks = {"kind": "grouped", "dataset": "known", "shots": 3, "queries": 3, **fields.pop("tasks", {})}
    learner, network = {"kind": "maml", "steps": 1, "learning_rate": 0.01}, {"kind": "mlp", "hidden": [4]}
    return {"name": "a", "learner": learner, "network": network, "tasks": tasks, "iterations": 10, **fields}


async def test_a_job_is_held_against_caps_and_the_queue_before_its_data_is_loaded(tmp_path: Path) -> None:
    async with served(tmp_path, max_jobs_queued=1) as (http, context):
        await _upload(http)
        loads = Loads(context)
        for wrong in ({"tasks": {"shots": 1_000_000}}, {"iterations": 10**8}, {"meta_batch_size": 10**6}):
            problem_of(await http.post("/meta-train", json=training(**wrong)), 422, "invalid-request")
        assert loads.num == 0
        assert (await http.post("/meta-train", json=training())).status_code == 202
        assert loads.num == 1
        problem_of(await http.post("/meta-train", json=training()), 503, "overloaded")
        assert loads.num == 1


async def test_data_of_many_jobs_is_loaded_two_at_a_time(tmp_path: Path) -> None:
    async with served(tmp_path) as (http, context):
        await _upload(http)
        loads = Loads(context)
        answers = await asyncio.gather(*(http.post("/meta-train", json=training()) for _ in range(8)))
        assert {answer.status_code for answer in answers} == {202}
        assert (loads.num, loads.most) == (8, 2)


async def _upload(http: Any) -> None:
    spec = json.dumps({"name": "known", "kind": "grouped"})
    files = {"file": ("a.npz", npz_of(grouped_arrays())), "spec": (None, spec, "application/json")}
    assert (await http.post("/datasets", files=files)).status_code == 201
