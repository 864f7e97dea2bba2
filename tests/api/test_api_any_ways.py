"""Claims about models for any number of classes: one model, and tasks of as many classes as their rows name."""

from typing import Any, NamedTuple

import httpx
import numpy as np
import pytest
import torch

from app.card import ANY_WAYS, Card, InputCard, OutputCard
from app.jobs.model_files import ModelFiles
from app.learners.model import as_tree, learner_of
from app.trees import from_bytes, metadata_of, to_bytes
from innerloop.wire import JobInfo
from tests.api.asking import Json, close, predict, problem_of
from tests.api.data_files import labelled_arrays, npz_of, upload
from tests.api.service import Service
from tests.api.test_api_weights import card_of, edited, send
from tests.api.tiny_jobs import new_name, train

SIZE = 3
LEARNERS: dict[str, Json] = {
    "prototypical": {"kind": "prototypical"},
    "matching": {"kind": "matching"},
    "ridge": {"kind": "ridge"},
    "kernel": {"kind": "kernel"},
    "class means": {"kind": "anil", "head": "class_means", "steps": 2, "learning_rate": 0.01},
    "unicorn": {"kind": "unicorn", "steps": 2, "learning_rate": 0.01},
    "protomaml": {"kind": "protomaml", "steps": 2, "learning_rate": 0.01},
}


class AnyWays(NamedTuple):
    """A model of the service, and the file that it was uploaded from."""

    name: str
    file: bytes


def file_of(learner: Json, *, seed: int = 0, num_outputs: int = ANY_WAYS, **fields: Any) -> bytes:
    """Return the file of an untrained model over rows of three numbers."""
    card = Card(
        **{
            "name": "any",
            "learner": learner,
            "network": {"kind": "mlp", "hidden": [16]},
            "loss": "cross_entropy",
            "input": InputCard(kind="vector", shape=(SIZE,)),
            "output": OutputCard(kind="classification", shape=(num_outputs,)),
            "num_train_classes": 10,
            "calibrated": True,
            "default_steps": learner.get("steps"),
            "max_steps": learner.get("steps") and 10,
            **fields,
        }
    )
    init = learner_of(card).init(torch.Generator().manual_seed(seed))
    return ModelFiles(card, to_bytes(as_tree(init))).packed()


def rows_of(classes: list[Any], per_class: int = 2, *, first: int = 0) -> Json:
    """Return rows around a corner of a grid for each class; classes of equal numbers lie at equal corners."""
    rng = np.random.default_rng(first)
    numbers = [number for number in range(first, first + len(classes)) for _ in range(per_class)]
    corners = 4.0 * np.stack([np.unravel_index(number, (5, 5, 5)) for number in numbers])
    inputs = corners + 0.1 * rng.normal(size=corners.shape)
    return {"inputs": inputs.tolist(), "targets": [name for name in classes for _ in range(per_class)]}


def named(number: int) -> list[str]:
    return [f"class {n}" for n in range(number)]


@pytest.fixture(scope="module", params=LEARNERS)
def model(request: pytest.FixtureRequest, service: Service) -> AnyWays:
    """A model of each kind that takes any number of classes."""
    found = AnyWays(new_name(), file_of(LEARNERS[request.param]))
    answer = send(service.http, found.name, found.file)
    assert answer.status_code == 201, answer.text
    return found


@pytest.fixture(scope="module")
def prototypes(service: Service) -> str:
    """The name of one such model."""
    name = new_name()
    assert send(service.http, name, file_of(LEARNERS["prototypical"])).status_code == 201
    return name


def adapted(http: httpx.Client, **body: Any) -> Json:
    answer = http.post("/adapt", json=body)
    assert answer.status_code == 201, answer.text
    found: Json = answer.json()
    return found


@pytest.mark.parametrize("ways", [2, 3, 30])
def test_one_model_takes_tasks_of_any_number_of_classes(
    http: httpx.Client, model: AnyWays, task_id: str, ways: int
) -> None:
    support = rows_of(named(ways))
    answer = adapted(http, task_id=task_id, model=model.name, support=support, validation=rows_of(named(ways)))
    assert answer["classes"] == named(ways)
    found = predict(http, task_id=task_id, inputs=support["inputs"])
    assert found.classes == named(ways)
    assert found.labels is not None
    right = np.mean([a == b for a, b in zip(found.labels, support["targets"], strict=True)])
    assert answer["validation"]["after"]["accuracy"] == pytest.approx(right)
    at_once = predict(http, model=model.name, support=support, inputs=support["inputs"])
    assert close(at_once.probabilities, found.probabilities)


def test_output_says_that_any_number_of_classes_is_taken(http: httpx.Client, model: AnyWays) -> None:
    (version,) = http.get(f"/models/{model.name}").json()["versions"]
    assert version["output"] == {"kind": "classification", "shape": [-1]}
    listed = next(shown for shown in http.get("/models?limit=500").json()["data"] if shown["name"] == model.name)
    assert [shown["output"]["shape"] for shown in listed["versions"]] == [[-1]]


def test_class_that_comes_with_appended_rows_is_as_if_it_had_been_there(
    http: httpx.Client, model: AnyWays, task_id: str
) -> None:
    first, more = rows_of(named(2)), rows_of(["new", "newer"], first=2)
    adapted(http, task_id=task_id, model=model.name, support=first)
    answer = adapted(http, task_id=task_id, support=more, append=True)
    assert (answer["revision"], answer["classes"], answer["support_size"]) == (2, [*named(2), "new", "newer"], 8)
    union = {field: [*first[field], *more[field]] for field in first}
    at_once = predict(http, model=model.name, support=union, inputs=union["inputs"])
    assert close(predict(http, task_id=task_id, inputs=union["inputs"]).probabilities, at_once.probabilities)
    assert predict(http, task_id=task_id, revision=1, inputs=first["inputs"]).classes == named(2)


def test_neighbouring_tasks_keep_their_own_classes(http: httpx.Client, model: AnyWays, task_id: str) -> None:
    ids = [f"{task_id}-{ways}" for ways in (2, 7, 3)]
    for one, ways in zip(ids, (2, 7, 3), strict=True):
        adapted(http, task_id=one, model=model.name, support=rows_of(named(ways)))
    shown = [predict(http, task_id=one, inputs=[[0.0] * SIZE]).probabilities or [[]] for one in ids]
    assert [len(probabilities[0]) for probabilities in shown] == [2, 7, 3]


def test_weights_of_a_task_hold_a_mask_of_its_own_classes(http: httpx.Client, model: AnyWays, task_id: str) -> None:
    adapted(http, task_id=task_id, model=model.name, support=rows_of(named(7)))
    weights = http.get(f"/tasks/{task_id}/weights")
    assert weights.status_code == 200, weights.text
    assert from_bytes(weights.content)["class_mask"].tolist() == [True] * 7


@pytest.mark.usefixtures("nothing_changes")
@pytest.mark.parametrize("path", ["/adapt", "/predict"])
def test_more_classes_than_the_cap_are_refused_as_one_class_is(http: httpx.Client, prototypes: str, path: str) -> None:
    most = http.get("/limits").json()["max_classes"]
    more: Json = {"inputs": [[0.0] * SIZE]} if path == "/predict" else {"task_id": "over"}
    for ways, code, shown in ((most + 1, "too-many-classes", f"can hold {most}"), (1, "too-few-classes", "'class 0'")):
        response = http.post(path, json={"model": prototypes, "support": rows_of(named(ways)), **more})
        assert shown in problem_of(response, 422, code).detail


def test_appended_class_over_the_cap_is_refused(http: httpx.Client, prototypes: str, task_id: str) -> None:
    most = http.get("/limits").json()["max_classes"]
    adapted(http, task_id=task_id, model=prototypes, support=rows_of(named(most), 1))
    response = http.post("/adapt", json={"task_id": task_id, "support": rows_of(["one more"], 1), "append": True})
    problem_of(response, 422, "too-many-classes")
    assert len(predict(http, task_id=task_id, inputs=[[0.0] * SIZE]).classes or []) == most


FIXED: Json = {"kind": "maml", "steps": 2, "learning_rate": 0.01}
ANY = {"kind": "classification", "shape": [ANY_WAYS]}
REFUSED = {
    "a learner with a head row a class": lambda: edited(file_of(FIXED, num_outputs=5), output=ANY),
    "the same with a head of one row": lambda: file_of(FIXED),
    "numbers": lambda: edited(
        file_of({"kind": "ridge"}), output={"kind": "regression", "shape": [ANY_WAYS]}, loss="squared"
    ),
    "numbers of a kernel": lambda: file_of(
        {"kind": "kernel"}, output=OutputCard(kind="regression", shape=(ANY_WAYS,)), loss="squared", calibrated=False
    ),
    "-2 classes": lambda: edited(file_of({"kind": "ridge"}), output={"kind": "classification", "shape": [-2]}),
    "no classes": lambda: edited(file_of({"kind": "ridge"}), output={"kind": "classification", "shape": [0]}),
    "one class": lambda: edited(file_of({"kind": "ridge"}), output={"kind": "classification", "shape": [1]}),
    "steps of a learner that takes none": lambda: edited(file_of({"kind": "ridge"}), default_steps=1, max_steps=1),
}


@pytest.mark.parametrize("what", REFUSED)
def test_card_that_any_number_of_classes_does_not_go_with_is_refused(http: httpx.Client, what: str) -> None:
    name = new_name()
    problem = problem_of(send(http, name, REFUSED[what]()), 422, "invalid-weights")
    assert len(problem.detail) < 1000
    problem_of(http.get(f"/models/{name}"), 404, "model-not-found")


def test_learner_for_any_number_may_be_kept_to_one(http: httpx.Client, task_id: str) -> None:
    """As models were that were trained before any number was taken."""
    name = new_name()
    assert send(http, name, file_of({"kind": "ridge"}, num_outputs=5)).status_code == 201
    adapted(http, task_id=task_id, model=name, support=rows_of(named(3)))
    assert predict(http, task_id=task_id, inputs=[[0.0] * SIZE]).classes == named(3)
    response = http.post("/adapt", json={"model": name, "support": rows_of(named(6))})
    assert "can hold 5" in problem_of(response, 422, "too-many-classes").detail


@pytest.mark.parametrize("learner", [{"kind": "ridge"}, {"kind": "mann"}], ids=lambda learner: learner["kind"])
def test_learner_without_steps_has_none_to_set(http: httpx.Client, task_id: str, learner: Json) -> None:
    name = new_name()
    num_outputs = 5 if learner["kind"] == "mann" else ANY_WAYS
    assert send(http, name, file_of(learner, num_outputs=num_outputs)).status_code == 201
    for setting in ({"steps": 1}, {"learning_rate": 0.1}, {"learning_rate_scale": 2.0}):
        response = http.post("/adapt", json={"model": name, "support": rows_of(named(2)), **setting})
        problem_of(response, 422, "setting-not-supported")
    answer = adapted(http, task_id=task_id, model=name, support=rows_of(named(2)))
    assert len(answer["support_loss"]) == 1


@pytest.fixture(scope="module")
def dataset(service: Service) -> str:
    """Twelve classes of rows of three numbers; their splits hold different numbers of classes."""
    name = new_name("data")
    spec: Json = {"name": name, "kind": "labelled", "inputs": "inputs", "targets": "targets"}
    return upload(service.http, npz_of(labelled_arrays()), "rows.npz", **spec).name


def tasks_on(dataset: str, **fields: Any) -> Json:
    return {"kind": "labelled", "dataset": dataset, "ways": 2, "shots": 1, "queries": 2, **fields}


@pytest.fixture(scope="module")
def trained(service: Service, dataset: str) -> JobInfo:
    """A job for a name with an active version that sees nothing, both for any number of classes."""
    name, file = new_name(), file_of(LEARNERS["prototypical"])
    blind = {leaf_name: torch.zeros_like(leaf) for leaf_name, leaf in from_bytes(file).items()}
    assert send(service.http, name, to_bytes(blind, metadata_of(file))).status_code == 201
    return train(
        service.http,
        name=name,
        learner=LEARNERS["prototypical"],
        tasks=tasks_on(dataset, training_ways=[2, 4]),
        meta_learning_rate=0.01,
    )


def test_trained_version_for_any_number_takes_the_place_of_another(http: httpx.Client, trained: JobInfo) -> None:
    shown = http.get(f"/models/{trained.name}").json()
    assert [version["output"]["shape"] for version in shown["versions"]] == [[-1], [-1]]
    version = next(v for v in shown["versions"] if v["version"] == trained.model_version)
    found = version["metrics"]["promotion"]
    assert (found["against"], found["score"], found["better"]) == (1, "accuracy", True)
    assert shown["active_version"] == trained.model_version
    for ways in (2, 30):
        support = rows_of(named(ways))
        assert predict(http, model=trained.name, support=support, inputs=support["inputs"]).classes == named(ways)


def test_version_for_one_number_does_not_take_the_place_of_one_for_any(http: httpx.Client, dataset: str) -> None:
    name = new_name()
    assert send(http, name, file_of(LEARNERS["prototypical"])).status_code == 201
    job = train(http, name=name, learner=FIXED, tasks=tasks_on(dataset))
    shown = http.get(f"/models/{name}").json()
    fixed = next(version for version in shown["versions"] if version["version"] == job.model_version)
    assert fixed["output"]["shape"] == [2]
    assert "schema" in fixed["metrics"]["promotion"]["reason"]
    assert shown["active_version"] == 1


def test_downloaded_model_of_a_job_is_the_same_model_elsewhere(http: httpx.Client, trained: JobInfo) -> None:
    data = http.get(f"/models/{trained.name}/versions/{trained.model_version}/weights").content
    assert card_of(data)["output"]["shape"] == [ANY_WAYS]
    other = new_name()
    assert send(http, other, data).status_code == 201
    support = rows_of(named(9))
    mine, theirs = (
        predict(http, model=model, support=support, inputs=support["inputs"]).probabilities
        for model in (other, f"{trained.name}@{trained.model_version}")
    )
    assert mine == theirs
