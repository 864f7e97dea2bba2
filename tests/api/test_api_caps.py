"""Claims about every cap of `GET /limits`: what is at it is taken, and one more is refused before any compute."""

import io
import json
import re
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import httpx
import pytest
from PIL import Image

from innerloop.wire import Limits
from tests.api.asking import JSON, Json, adapt, problem_of, sine
from tests.api.data_files import csv_of, send, zip_of
from tests.api.drawings import MODEL, drawing, in_base64, picture, saved
from tests.api.service import Service, start_service
from tests.api.text_models import text_model
from tests.serving.jobs import REQUEST

CAPS: dict[str, float] = {
    "max_classes": 3,
    "max_support_rows": 6,
    "max_query_rows": 8,
    "max_steps": 4,
    "max_body_bytes": 30_000,
    "max_learning_rate": 0.5,
    "max_learning_rate_scale": 3.0,
    "max_picture_pixels": 105 * 105,
    "max_request_pixels": 5 * 105 * 105,
    "max_text_chars": 40,
    "max_batch_requests": 2,
    "max_iterations": 50,
    "max_meta_batch_size": 4,
    "max_ways": 3,
    "max_shots": 5,
    "max_queries": 7,
    "max_network_parameters": 1_600,
    "max_dataset_rows": 60,
    "max_dataset_bytes": 2_000,
    "max_archive_entries": 12,
    "max_jobs_queued": 2,
}
IN_OTHER_TESTS = {
    # How many are kept, and not how much is taken: tests/api/test_api_limits.py.
    "max_revisions",
    # What waits for the device, which is a matter of time: tests/api/test_api_limits.py, tests/engine.
    "max_queue_depth",
    "max_wait_seconds",
    "rush_wait_seconds",
    # The share of a tenant, where keys are configured.
    "tenant_requests_per_second",
    "tenant_burst_requests",
    "tenant_requests_at_once",
    "tenant_tasks",
    "tenant_bytes",
    "tenant_jobs_queued",
}
Ask = Callable[[httpx.Client], httpx.Response]


class Case(NamedTuple):
    """Requests with as much as a cap allows, and with more, and how the latter is refused."""

    taken: Ask
    refused: Ask
    status: int
    code: str


def post(path: str, body: Any, **headers: str) -> Ask:
    return lambda http: http.post(path, json=body, headers=headers)


def asked(num_rows: int = 2, **fields: Any) -> Json:
    return {"model": "sinusoid", "support": sine(num_rows), **fields}


def files(*names: str, enlarged: bool = False) -> Json:
    pictures = [drawing(number, 0) for number in range(len(names))]
    if enlarged:
        pictures[-1] = saved(picture(0, 0).resize((106, 105)), "PNG")
    return {"inputs": [in_base64(file) for file in pictures], "targets": list(names)}


def sentence(num_chars: int) -> Json:
    support = {"inputs": ["a" * num_chars, "another"], "targets": ["x", "y"]}
    return {"model": "sentences", "support": support}


def padded(num_bytes: int) -> Ask:
    body = json.dumps(asked()).encode()
    return lambda http: http.post("/adapt", content=body + b" " * (num_bytes - len(body)), headers=JSON)


def job(**fields: Any) -> Ask:
    return post("/meta-train", {**REQUEST, "iterations": 10, "meta_batch_size": 2, **fields})


def sinusoids(shots: int, queries: int) -> Json:
    return {"tasks": {"kind": "sinusoid", "shots": shots, "queries": queries}}


def of_classes(ways: int) -> Json:
    tasks = {"kind": "labelled", "dataset": "classes", "ways": ways, "shots": 1, "queries": 1}
    return {"tasks": tasks, "network": {"kind": "mlp", "hidden": [4]}, "learner": {"kind": "maml"}}


def table(num_rows: int, group_names: list[str]) -> bytes:
    groups = [group_names[row % len(group_names)] for row in range(num_rows)]
    return csv_of({"g": groups, "x": range(num_rows), "y": range(num_rows)})


def data(num_rows: int, *num_chars: int) -> Ask:
    """Upload rows of 20 bytes each, of groups with names of so many characters."""
    names = [letter * length for letter, length in zip("abc", num_chars, strict=True)]
    spec: Json = {"name": f"rows-{num_rows}-{sum(num_chars)}", "kind": "grouped", "targets": "y", "group": "g"}
    return lambda http: send(http, table(num_rows, names), "a.csv", **spec)


def folders(num_pictures: int) -> Ask:
    file = io.BytesIO()
    Image.new("L", (8, 8), 90).save(file, "PNG")
    archive = zip_of({f"{number % 3}/{number}.png": file.getvalue() for number in range(num_pictures)})
    spec: Json = {"name": f"folders-{num_pictures}", "kind": "labelled", "picture_size": 8}
    return lambda http: send(http, archive, "a.zip", **spec)


def queued(num_jobs: int) -> Ask:
    """Queue so many jobs; return the last answer."""
    return lambda http: [job()(http) for _ in range(num_jobs)][-1]


ONE = asked(inputs=[[0.5]])
CASES: dict[str, Case] = {
    "max_classes": Case(
        post("/adapt", {"model": MODEL, "support": files("a", "b", "c")}),
        post("/adapt", {"model": MODEL, "support": files("a", "b", "c", "d")}), 422, "too-many-classes",
    ),
    "max_support_rows": Case(post("/adapt", asked(6)), post("/adapt", asked(7)), 413, "too-many-rows"),
    "max_query_rows": Case(
        post("/predict", asked(inputs=[[0.5]] * 8)), post("/predict", asked(inputs=[[0.5]] * 9)), 413, "too-many-rows"
    ),
    "max_steps": Case(post("/adapt", asked(steps=4)), post("/adapt", asked(steps=5)), 422, "steps-over-limit"),
    "max_body_bytes": Case(padded(30_000), padded(30_001), 413, "body-too-large"),
    "max_learning_rate": Case(
        post("/adapt", asked(learning_rate=0.5, steps=0)), post("/adapt", asked(learning_rate=0.50001, steps=0)),
        422, "setting-out-of-range",
    ),
    "max_learning_rate_scale": Case(
        post("/adapt", asked(learning_rate_scale=3.0)), post("/adapt", asked(learning_rate_scale=3.0001)),
        422, "setting-out-of-range",
    ),
    "max_picture_pixels": Case(
        post("/adapt", {"model": MODEL, "support": files("a", "b")}),
        post("/adapt", {"model": MODEL, "support": files("a", "b", enlarged=True)}), 413, "picture-too-large",
    ),
    "max_request_pixels": Case(
        post("/adapt", {"model": MODEL, "support": files("a", "b", "a", "b", "a")}),
        post("/adapt", {"model": MODEL, "support": files("a", "b", "a", "b", "a", "b")}), 413, "picture-too-large",
    ),
    "max_text_chars": Case(post("/adapt", sentence(40)), post("/adapt", sentence(41)), 413, "text-too-long"),
    "max_batch_requests": Case(
        post("/predict/batch", [ONE] * 2), post("/predict/batch", [ONE] * 3), 413, "too-many-requests-in-batch"
    ),
    "max_idempotency_key_chars": Case(
        post("/adapt", asked(), **{"Idempotency-Key": "k" * 255}),
        post("/adapt", asked(), **{"Idempotency-Key": "k" * 256}), 400, "invalid-idempotency-key",
    ),
    "max_iterations": Case(job(iterations=50), job(iterations=51), 422, "invalid-request"),
    "max_meta_batch_size": Case(job(meta_batch_size=4), job(meta_batch_size=5), 422, "invalid-request"),
    "max_shots": Case(job(**sinusoids(5, 5)), job(**sinusoids(6, 5)), 422, "invalid-request"),
    "max_queries": Case(job(**sinusoids(5, 7)), job(**sinusoids(5, 8)), 422, "invalid-request"),
    "max_ways": Case(job(**of_classes(3)), job(**of_classes(4)), 422, "invalid-request"),
    # A hidden layer of h between one number and one: 3 h + 1 parameters.
    "max_network_parameters": Case(
        job(network={"kind": "mlp", "hidden": [533]}), job(network={"kind": "mlp", "hidden": [534]}),
        422, "invalid-request",
    ),
    "max_jobs_queued": Case(queued(2), queued(3), 503, "overloaded"),
    "max_dataset_rows": Case(data(60, 1, 1, 1), data(61, 1, 1, 1), 413, "dataset-too-large"),
    "max_dataset_bytes": Case(data(60, 266, 267, 267), data(60, 266, 267, 268), 413, "dataset-too-large"),
    "max_archive_entries": Case(folders(12), folders(13), 413, "dataset-too-large"),
}  # fmt: skip


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """A service with small caps that works on no job."""
    running = start_service(tmp_path_factory.mktemp("caps"), job_worker=0, **CAPS)
    headers = {"Content-Type": "application/vnd.safetensors"}
    sent = running.http.post("/models/sentences/versions", content=text_model(), headers=headers)
    assert sent.status_code == 201, sent.text
    classes = csv_of({"c": [f"c{row % 12}" for row in range(60)], "x": range(60)})
    split = {"fractions": [0.5, 0.25, 0.25]}
    send(running.http, classes, "a.csv", name="classes", kind="labelled", targets="c", split=split).raise_for_status()
    yield running
    running.stop()


@pytest.fixture
def http(small: Service) -> httpx.Client:
    """A client of the service, whose queue of jobs is empty before the test."""
    for waiting in small.http.get("/meta-train?limit=500").json()["data"]:
        if waiting["status"] == "queued":
            small.http.post(f"/meta-train/{waiting['job_id']}/cancel").raise_for_status()
    return small.http


def done(http: httpx.Client) -> int:
    """Return how many pieces of work the device was given so far."""
    found = re.search(r'^innerloop_batch_size_sum\{stage="device"\} (\S+)$', http.get("/metrics").text, re.MULTILINE)
    return int(float(found[1])) if found else 0


def stored(http: httpx.Client) -> list[Any]:
    """Return what there is of everything that a request may leave behind, but for the states of jobs."""
    lists = [http.get(f"/{kind}?limit=500").json()["data"] for kind in ("tasks", "datasets", "models")]
    return [*lists, len(http.get("/meta-train?limit=500").json()["data"])]


def test_every_cap_has_a_case() -> None:
    assert CASES.keys() | IN_OTHER_TESTS == Limits.model_fields.keys()
    assert not CASES.keys() & IN_OTHER_TESTS


def test_every_cap_is_shown_with_its_setting(http: httpx.Client) -> None:
    shown = http.get("/limits").json()
    assert shown.items() >= CAPS.items()
    assert shown.keys() >= CASES.keys()
    assert CASES.keys() == CAPS.keys() | {"max_idempotency_key_chars"}


@pytest.mark.parametrize("cap", CASES)
def test_as_much_as_the_cap_is_taken(http: httpx.Client, cap: str) -> None:
    answer = CASES[cap].taken(http)
    assert answer.status_code in (200, 201, 202), answer.text


@pytest.mark.parametrize("cap", CASES)
def test_more_than_the_cap_is_refused_before_any_compute(http: httpx.Client, cap: str) -> None:
    case = CASES[cap]
    num_jobs = 2 if cap == "max_jobs_queued" else 0
    done_before, stored_before = done(http), stored(http)
    problem = problem_of(case.refused(http), case.status, case.code)
    assert f"{http.get('/limits').json()[cap]:g}" in problem.detail.replace(" ", "")
    assert done(http) == done_before
    assert stored(http) == [*stored_before[:-1], stored_before[-1] + num_jobs]


def test_what_is_counted_as_compute_grows_with_it(http: httpx.Client) -> None:
    before = done(http)
    adapt(http, support=sine(3))
    assert done(http) == before + 1


def test_rows_that_are_appended_count_with_those_that_are_there(http: httpx.Client, task_id: str) -> None:
    adapt(http, task_id=task_id, support=sine(4))
    before = done(http)
    one_too_many = {"task_id": task_id, "append": True, "support": sine(3)}
    problem_of(http.post("/adapt", json=one_too_many), 413, "too-many-rows")
    assert done(http) == before
    adapt(http, task_id=task_id, append=True, support=sine(2))


OCTETS = {"Content-Type": "application/octet-stream", "Inference-Header-Content-Length": "2"}
TENSORS = {"Content-Type": "application/vnd.safetensors"}
WITH_BODIES: dict[str, dict[str, str]] = {
    "/adapt": JSON,
    "/predict": TENSORS,
    "/adapt/batch": JSON,
    "/predict/batch": JSON,
    "/meta-train": JSON,
    "/models/own/versions": TENSORS,
    "/models/sinusoid/promote": JSON,
    "/models/sinusoid/authority": JSON,
    "/v2/models/any/infer": OCTETS,
    "/v2/repository/index": JSON,
    "/v2/repository/models/any/load": JSON,
    "/v2/repository/models/any/unload": JSON,
}


@pytest.mark.parametrize("chunk", [4096, 30_001])
@pytest.mark.parametrize("path", WITH_BODIES)
def test_bodies_without_a_length_are_capped_on_every_route(http: httpx.Client, path: str, chunk: int) -> None:
    body = b" " * 30_001
    chunks = (body[at : at + chunk] for at in range(0, len(body), chunk))
    problem = problem_of(http.post(path, content=chunks, headers=WITH_BODIES[path]), 413, "body-too-large")
    assert "30000" in problem.detail
