"""Claims about wrong requests of POST /meta-train: each is refused by its field before anything is queued."""

import json
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import httpx
import numpy as np
import pytest

from app.settings import Settings
from innerloop.wire import Limits
from tests.api.asking import JSON, problem_of
from tests.api.data_files import grouped_arrays, labelled_arrays, npz_of, upload
from tests.api.service import Service

GOOD: dict[str, Any] = {
    "name": "never-queued",
    "learner": {"kind": "maml"},
    "network": {"kind": "mlp", "hidden": [8]},
    "tasks": {"kind": "sinusoid", "shots": 5, "queries": 5},
}
LABELLED = {"kind": "labelled", "dataset": "bad-labelled", "ways": 2, "shots": 1, "queries": 2}
GROUPED = {"kind": "grouped", "dataset": "bad-grouped", "shots": 5, "queries": 5}
MAX = Limits()
ABSENT = SimpleNamespace()


@pytest.fixture(scope="module", autouse=True)
def data(service: Service) -> Iterator[None]:
    """Data sets of each kind, and one with a class of few rows."""
    upload(service.http, npz_of(labelled_arrays()), "a.npz", name="bad-labelled", kind="labelled")
    upload(service.http, npz_of(grouped_arrays()), "b.npz", name="bad-grouped", kind="grouped")
    few = labelled_arrays()
    kept = np.flatnonzero((few["targets"] != "class 3") | (np.arange(len(few["targets"])) % 8 < 2))
    upload(service.http, npz_of({k: v[kept] for k, v in few.items()}), "c.npz", name="bad-few", kind="labelled")
    yield
    for name in ("bad-labelled", "bad-grouped", "bad-few"):
        assert service.http.delete(f"/datasets/{name}").status_code == 204


@pytest.fixture(autouse=True)
def nothing_is_queued(http: httpx.Client) -> Iterator[None]:
    def newest() -> list[str]:
        return [job["job_id"] for job in http.get("/meta-train?limit=5").json()["data"]]

    before = newest()
    yield
    assert newest() == before


def with_part(part: str, **fields: Any) -> dict[str, Any]:
    """Return the good request with some fields of a part changed."""
    changed = {**GOOD[part], **fields}
    return {**GOOD, part: {name: value for name, value in changed.items() if value is not ABSENT}}


def names_place(problem: Any, place: str) -> bool:
    """Tell whether the errors name a place, and the sentence at least its last part."""
    found = [".".join(map(str, field.loc)) for field in problem.errors]
    return any(loc == place or loc.startswith(f"{place}.") for loc in found) and place.split(".")[-1] in problem.detail


WRONG_VALUES: dict[str, list[Any]] = {
    "name": [ABSENT, None, 1, "", "a b", "a.b", "x" * 65, "é", "../x", ["a"]],
    "learner": [ABSENT, None, "maml", [], {}, {"kind": None}, {"kind": 1}, {"kind": "mamml"}, {"steps": 1}],
    "network": [ABSENT, None, "mlp", [], {}, {"kind": "resnet"}],
    "tasks": [ABSENT, None, "sinusoid", [], {}, {"kind": "cosinusoid"}, {"kind": "served"}, {"kind": 1}],
    "iterations": [0, -1, 1.5, 10.0, "10", True, None, 2**63, 10**30, MAX.max_iterations + 1],
    "meta_batch_size": [0, -1, 2.0, "2", False, None, MAX.max_meta_batch_size + 1],
    "optimizer": ["lbfgs", "", None, 1],
    "meta_learning_rate": [0, 0.0, -0.1, "0.1", True, None, [0.1]],
    "learning_rate_schedule": ["linear", None, 1],
    "clip_norm": [0, -1.0, "1", True],
    "validate_every": [0, -5, 1.5, None, "1"],
    "patience": [0, -1, 1.5, "1", True],
    "seed": [-1, 1.5, "0", None, 2**63, True],
    "promote": ["sometimes", "", None, True, 1],
    "loss": ["hinge", "", 1, True, "cross_entropy", "binary_cross_entropy"],
    "unheard_of": [1, None],
    "Iterations": [5],
    "tasks.shots": [0, -1, 1.5, "5", None, True, [], [5], [1, 2, 3], [1, 5], MAX.max_shots + 1],
    "tasks.queries": [0, -1, "5", None, MAX.max_queries + 1],
    "tasks.ways": [5, 0],
    "tasks.unheard_of": [1],
    "learner.steps": [0, -1, 1.5, "1", None, MAX.max_steps + 1],
    "learner.learning_rate": [0, -1.0, "0.1", None],
    "learner.head": ["class_means", "other", 1],
    "learner.unheard_of": [1],
    "network.hidden": [[], [0], [-1], ["8"], "8", None, [8, 0], [1.5]],
    "network.unheard_of": [1],
}
WRONG = [(place, value) for place, values in WRONG_VALUES.items() for value in values]


@pytest.mark.parametrize(("place", "value"), WRONG, ids=lambda value: "absent" if value is ABSENT else str(value)[:40])
def test_wrong_field_is_refused_by_its_name(http: httpx.Client, place: str, value: Any) -> None:
    part, _, field = place.partition(".")
    if field:
        body = with_part(part, **{field: value})
    else:
        body = {name: kept for name, kept in {**GOOD, part: value}.items() if kept is not ABSENT}
    no_id = place == "name" and isinstance(value, str)
    answer = http.post("/meta-train", json=body)
    problem = problem_of(answer, 422, "invalid-id" if no_id else "invalid-request")
    assert any(".".join(map(str, found.loc)).startswith(part) and found.msg for found in problem.errors), problem
    assert part in problem.detail or field in problem.detail


@pytest.mark.parametrize(
    ("tasks", "place", "said"),
    [
        ({**LABELLED, "ways": 1}, "tasks", "2"),
        ({**LABELLED, "ways": MAX.max_ways + 1}, "tasks.ways", str(MAX.max_ways)),
        ({**LABELLED, "ways": 3}, "tasks", "3 ways need as many classes; this split has 2"),
        ({**LABELLED, "ways": 9}, "tasks", "9 ways need as many classes; this split has 8"),
        ({**LABELLED, "shots": 7}, "tasks", "class 'class "),
        ({**LABELLED, "shots": [1, 7]}, "tasks", "has 8 rows; 7 shots and 2 queries need 9"),
        ({**LABELLED, "shots": [5, 1]}, "tasks", "the wrong way round"),
        ({**LABELLED, "shots": [0, 1]}, "tasks", "greater than or equal to 1"),
        ({**LABELLED, "shots": [1, MAX.max_shots + 1]}, "tasks.shots", str(MAX.max_shots)),
        ({**LABELLED, "queries": MAX.max_queries + 1}, "tasks.queries", str(MAX.max_queries)),
        ({**LABELLED, "training_ways": MAX.max_ways + 1}, "tasks.training_ways", str(MAX.max_ways)),
        ({**LABELLED, "training_ways": 3}, "tasks.training_ways", "must be 2"),
        ({**LABELLED, "training_queries": MAX.max_queries + 1}, "tasks.training_queries", str(MAX.max_queries)),
        ({**LABELLED, "training_ways": [2, MAX.max_ways + 1]}, "tasks.training_ways", str(MAX.max_ways)),
        ({**LABELLED, "training_ways": [9, 2]}, "tasks", "the wrong way round"),
        ({**LABELLED, "training_ways": [1, 2]}, "tasks", "training_ways"),
        ({**LABELLED, "training_ways": [2, 2]}, "tasks.training_ways", "is a range: it needs a learner"),
        ({**LABELLED, "distortion": 0.6}, "tasks", "0.5"),
        ({**LABELLED, "label_noise": 0.95}, "tasks", "0.9"),
        ({**LABELLED, "evaluation_label_noise": "some"}, "tasks", "evaluation_label_noise"),
        ({**LABELLED, "rotations": True}, "tasks", "square pictures"),
        ({**LABELLED, "scaling": "yes"}, "tasks", "scaling"),
        ({**LABELLED, "order": "first"}, "tasks", "order"),
        ({**LABELLED, "dataset": "bad-few"}, "tasks", "class 'class 3' has 2 rows; 1 shots and 2 queries need 3"),
        ({**LABELLED, "dataset": "bad-grouped"}, "tasks", "is grouped; tasks of kind 'labelled' need a labelled one"),
        ({**LABELLED, "dataset": 5}, "tasks", "dataset"),
        ({"kind": "labelled"}, "tasks", "dataset"),
        ({**GROUPED, "dataset": "bad-labelled"}, "tasks", "is labelled; tasks of kind 'grouped' need a grouped one"),
        ({**GROUPED, "shots": 16}, "tasks", "has 20 rows; 16 shots and 5 queries need 21"),
        ({**GROUPED, "shots": [6, 2]}, "tasks", "the wrong way round"),
        ({**GROUPED, "queries": MAX.max_queries + 1}, "tasks.queries", str(MAX.max_queries)),
        ({**GROUPED, "order": "last"}, "tasks", "order"),
        ({**GROUPED, "ways": 2}, "tasks", "ways"),
        ({**GROUPED, "scaling": None}, "tasks", "scaling"),
        ({"kind": "grouped"}, "tasks", "dataset"),
    ],
    ids=lambda value: "" if isinstance(value, dict) else str(value),
)  # fmt: skip
def test_tasks_that_the_data_cannot_give_are_refused(
    http: httpx.Client, tasks: dict[str, Any], place: str, said: str
) -> None:
    problem = problem_of(http.post("/meta-train", json={**GOOD, "tasks": tasks}), 422, "invalid-request")
    assert names_place(problem, place) or place == "tasks", problem
    assert any(field.loc[0] == "tasks" for field in problem.errors), problem
    assert said in problem.detail


MISMATCHES: dict[str, tuple[dict[str, Any], str]] = {
    "conv4 on numbers": ({"network": {"kind": "conv4"}}, "conv4 takes pictures"),
    "conv4 on rows of vectors": ({"network": {"kind": "conv4"}, "tasks": LABELLED}, "conv4 takes pictures"),
    "class means of a regression": ({"learner": {"kind": "anil", "head": "class_means"}}, "needs classes"),
    "class means of groups": (
        {"learner": {"kind": "anil", "head": "class_means"}, "tasks": GROUPED},
        "needs classes",
    ),
    "loss of numbers on classes": ({"loss": "squared", "tasks": LABELLED}, "does not fit classification targets"),
    "loss of classes on numbers": ({"loss": "cross_entropy", "tasks": GROUPED}, "does not fit regression targets"),
    "a network over the cap": ({"network": {"kind": "mlp", "hidden": [4096] * 5}}, str(MAX.max_network_parameters)),
    "a network of absurd size": ({"network": {"kind": "mlp", "hidden": [2**62] * 3}}, "network"),
    "a network of very many layers": ({"network": {"kind": "mlp", "hidden": [1] * 10_000}}, "network"),
    "learned rates of pre-training": ({"learner": {"kind": "pretrained", "rates": "per_tensor"}}, "rates"),
}


@pytest.mark.parametrize("what", MISMATCHES)
def test_what_does_not_fit_together_is_refused(http: httpx.Client, what: str) -> None:
    fields, said = MISMATCHES[what]
    problem = problem_of(http.post("/meta-train", json={**GOOD, **fields}), 422, "invalid-request")
    assert said in problem.detail
    assert problem.errors


@pytest.mark.parametrize("kind", ["labelled", "grouped"])
@pytest.mark.parametrize("name", ["no-such-data", "é", "", "a/b", "x" * 300, "../bad-grouped"])
def test_unknown_data_set_is_not_found(http: httpx.Client, kind: str, name: str) -> None:
    tasks = {**(LABELLED if kind == "labelled" else GROUPED), "dataset": name}
    answer = http.post("/meta-train", json={**GOOD, "tasks": tasks})
    if name == "no-such-data":
        assert "GET /datasets" in problem_of(answer, 404, "dataset-not-found").detail
    else:
        assert answer.status_code in (404, 422)
        problem_of(answer, answer.status_code, answer.json()["code"])


NOT_FINITE = [b"NaN", b"Infinity", b"-Infinity", b"1e400", b"-1e400"]


@pytest.mark.parametrize("value", NOT_FINITE)
@pytest.mark.parametrize("place", ["meta_learning_rate", "clip_norm", "learner.learning_rate", "iterations", "extra"])
def test_numbers_that_are_not_finite_are_refused(http: httpx.Client, place: str, value: bytes) -> None:
    part, _, field = place.partition(".")
    body = with_part(part, **{field: "HERE"}) if field else {**GOOD, part: "HERE"}
    content = json.dumps(body).encode().replace(b'"HERE"', value)
    problem_of(http.post("/meta-train", content=content, headers=JSON), 422, "not-finite")


@pytest.mark.parametrize("body", [b"", b"{", b"\xff\xfe", b"{'name': 1}", b'{"name": "a",}'])
def test_what_is_not_json_is_refused(http: httpx.Client, body: bytes) -> None:
    problem_of(http.post("/meta-train", content=body, headers=JSON), 400, "not-json")


@pytest.mark.parametrize("body", [b"[]", b"5", b"null", b'"maml"', b"true"])
def test_what_is_no_object_is_refused(http: httpx.Client, body: bytes) -> None:
    problem_of(http.post("/meta-train", content=body, headers=JSON), 422, "invalid-request")


def test_other_media_types_are_refused(http: httpx.Client) -> None:
    content = json.dumps(GOOD).encode()
    for kind in ("text/plain", "multipart/form-data; boundary=x", "application/vnd.safetensors"):
        answer = http.post("/meta-train", content=content, headers={"Content-Type": kind})
        problem_of(answer, 415, "unsupported-media-type")


def test_many_wrong_fields_are_named_at_once(http: httpx.Client) -> None:
    body = {**GOOD, "iterations": 0, "seed": -1, "promote": "x", "unheard_of": 1}
    problem = problem_of(http.post("/meta-train", json=body), 422, "invalid-request")
    assert {field.loc[0] for field in problem.errors} == {"iterations", "seed", "promote", "unheard_of"}


def test_very_many_unknown_fields_are_no_long_answer(http: httpx.Client) -> None:
    for body in (
        {**GOOD, **{f"field{n}": n for n in range(5000)}},
        with_part("learner", **{f"field{n}": n for n in range(5000)}),
    ):
        answer = http.post("/meta-train", json=body)
        problem_of(answer, 422, "invalid-request")
        assert len(answer.content) < 50_000


def test_caps_are_those_that_limits_shows(http: httpx.Client) -> None:
    shown = http.get("/limits").json()
    here = Settings(_env_file=None).model_dump()
    for cap in Limits.model_fields:
        is_off = cap.startswith("tenant_")  # as long as there are no keys
        assert shown[cap] == (0 if is_off else here.get(cap, getattr(MAX, cap)))
