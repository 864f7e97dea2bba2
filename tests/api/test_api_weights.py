"""Claims about model files that go out and come in: bytes that are told, checked, and never executed."""

import json
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
import torch

from app.trees import from_bytes, metadata_of, sha256, to_bytes
from tests.api.asking import adapt, close, outputs, predict, problem_of, sine
from tests.api.drawings import MODEL, rows_of
from tests.api.service import Service
from tests.api.tiny_jobs import new_name

SAFETENSORS = {"Content-Type": "application/vnd.safetensors"}


def download(http: httpx.Client, model: str, version: int = 1) -> bytes:
    answer = http.get(f"/models/{model}/versions/{version}/weights")
    assert answer.status_code == 200, answer.text
    return answer.content


def send(http: httpx.Client, name: str, data: bytes) -> httpx.Response:
    return http.post(f"/models/{name}/versions", content=data, headers=SAFETENSORS)


@pytest.fixture(scope="module")
def file(service: Service) -> bytes:
    """The weights of the shipped sinusoid model, as they are downloaded."""
    return download(service.http, "sinusoid")


def card_of(data: bytes) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(metadata_of(data)["card"])
    return found


def with_card(data: bytes, card: Any) -> bytes:
    """Return the same weights with another card, as JSON unless it is text."""
    return to_bytes(from_bytes(data), {"card": card if isinstance(card, str) else json.dumps(card)})


def edited(data: bytes, **fields: Any) -> bytes:
    return with_card(data, {**card_of(data), **fields})


def with_leaf(data: bytes, name: str, leaf: torch.Tensor) -> bytes:
    return to_bytes({**from_bytes(data), name: leaf}, metadata_of(data))


@pytest.mark.parametrize("model", ["sinusoid", MODEL])
def test_download_has_the_bytes_that_are_told(http: httpx.Client, model: str) -> None:
    answer = http.get(f"/models/{model}/versions/1/weights")
    (told,) = http.get(f"/models/{model}").json()["versions"]
    assert (sha256(answer.content), len(answer.content)) == (told["sha256"], told["bytes"])
    assert answer.headers["ETag"] == f'"{told["sha256"]}"'
    assert answer.headers["Content-Type"] == "application/vnd.safetensors"
    assert f"{model}-1.safetensors" in answer.headers["Content-Disposition"]
    card = card_of(answer.content)
    assert (card["learner"], card["network"]) == (told["learner"], told["network"])
    assert card["input"]["shape"] == told["input"]["shape"]


@pytest.mark.parametrize("model", ["sinusoid", MODEL])
def test_file_that_was_downloaded_is_the_same_model_under_another_name(http: httpx.Client, model: str) -> None:
    name, data = new_name(), download(http, model)
    answer = send(http, name, data)
    assert answer.status_code == 201, answer.text
    shown = answer.json()
    assert (shown["version"], shown["sha256"], shown["bytes"]) == (1, sha256(data), len(data))
    assert answer.headers["Location"] == f"/models/{name}/versions/1/weights"
    assert http.get(answer.headers["Location"]).content == data
    described = {"name": name, "active_version": 1, "authority": "weights", "versions": [shown]}
    assert http.get(f"/models/{name}").json() == described
    if model == MODEL:
        rows = {"support": rows_of(["a", "b"], [2, 2]), "inputs": rows_of(["a", "b"], [1, 1], first=5)["inputs"]}
        mine, theirs = (predict(http, model=which, **rows).probabilities for which in (name, model))
    else:
        rows = {"support": sine(6), "inputs": [[0.5], [2.5]]}
        mine, theirs = (outputs(http, model=which, **rows) for which in (name, model))
    assert mine == theirs


def test_second_version_is_served_when_it_is_promoted(http: httpx.Client, file: bytes) -> None:
    name = new_name()
    assert send(http, name, file).json()["version"] == 1
    moved = with_leaf(file, "trained.head.bias", torch.tensor([3.5]))
    assert send(http, name, moved).json()["version"] == 2
    assert http.get(f"/models/{name}").json()["active_version"] == 1
    before = outputs(http, model=name, support=sine(3), inputs=[[0.0]], steps=0)
    assert http.post(f"/models/{name}/promote", json={"version": 2}).status_code == 200
    after = outputs(http, model=name, support=sine(3), inputs=[[0.0]], steps=0)
    shift = 3.5 - float(from_bytes(file)["trained.head.bias"][0])
    assert close(after, [[before[0][0] + shift]], within=1e-4)


def test_the_same_file_again_is_the_same_version(http: httpx.Client, file: bytes) -> None:
    name = new_name()
    first, again = (send(http, name, file) for _ in range(2))
    assert again.status_code in (200, 201)
    assert again.json() == first.json()
    assert len(http.get(f"/models/{name}").json()["versions"]) == 1


def refused(name: str, make: Any) -> Any:
    return pytest.param(make, id=name)


WRONG_CARDS = [
    refused("no card", lambda data: to_bytes(from_bytes(data))),
    refused("other metadata", lambda data: to_bytes(from_bytes(data), {"format": "pt"})),
    refused("text", lambda data: with_card(data, "nonsense")),
    refused("nothing", lambda data: with_card(data, "")),
    refused("list", lambda data: with_card(data, [])),
    refused("null", lambda data: with_card(data, None)),
    refused("number", lambda data: with_card(data, 5)),
    refused("string", lambda data: with_card(data, '"card"')),
    refused("empty object", lambda data: with_card(data, {})),
    refused("very deep", lambda data: with_card(data, "[" * 100_000)),
    refused("unknown field", lambda data: edited(data, unheard_of=1)),
    refused("unknown learner", lambda data: edited(data, learner={"kind": "mamml"})),
    refused("learner without kind", lambda data: edited(data, learner={})),
    refused("learner kind of a list", lambda data: edited(data, learner={"kind": ["maml"]})),
    refused("learner kind of an object", lambda data: edited(data, learner={"kind": {}})),
    refused("learner options unknown", lambda data: edited(data, learner={"kind": "maml", "unheard_of": 1})),
    refused("learner of other leaves", lambda data: edited(data, learner={"kind": "maml", "rates": "per_tensor"})),
    refused("rate that is infinite", lambda data: with_card(
        data, json.dumps({**card_of(data), "learner": {"kind": "maml", "learning_rate": 1e999}})
    )),
    refused("unknown network", lambda data: edited(data, network={"kind": "resnet"})),
    refused("network kind of a list", lambda data: edited(data, network={"kind": []})),
    refused("another network", lambda data: edited(data, network={"kind": "mlp", "hidden": [40, 41]})),
    refused("network for pictures", lambda data: edited(data, network={"kind": "conv4"})),
    refused("huge network", lambda data: edited(data, network={"kind": "mlp", "hidden": [4096] * 16})),
    refused("absurd network", lambda data: edited(data, network={"kind": "mlp", "hidden": [2**62]})),
    refused("unknown loss", lambda data: edited(data, loss="hinge")),
    refused("loss of classes", lambda data: edited(data, loss="cross_entropy")),
    refused("another input shape", lambda data: edited(data, input={"kind": "vector", "shape": [2]})),
    refused("input without numbers", lambda data: edited(data, input={"kind": "vector", "shape": [0]})),
    refused("input of negative shape", lambda data: edited(data, input={"kind": "vector", "shape": [-1]})),
    refused("input of no axis", lambda data: edited(data, input={"kind": "vector", "shape": []})),
    refused("input of absurd shape", lambda data: edited(data, input={"kind": "vector", "shape": [2**62]})),
    refused("input beyond 64 bits", lambda data: edited(data, input={"kind": "vector", "shape": [2**80]})),
    refused("pictures that are vectors", lambda data: edited(data, input={"kind": "image", "shape": [1]})),
    refused("unknown kind of input", lambda data: edited(data, input={"kind": "text", "shape": [1]})),
    refused("polarity of no network", lambda data: edited(
        data, input={"kind": "vector", "shape": [1], "polarity": "made up"}
    )),
    refused("no outputs", lambda data: edited(data, output={"kind": "regression", "shape": [0]})),
    refused("absurd outputs", lambda data: edited(data, output={"kind": "regression", "shape": [2**62]})),
    refused("outputs beyond 64 bits", lambda data: edited(data, output={"kind": "regression", "shape": [2**80]})),
    refused("classes over the cap", lambda data: edited(data, output={"kind": "classification", "shape": [101]})),
    refused("classes of a regression", lambda data: edited(data, output={"kind": "classification", "shape": [1]})),
    refused("negative classes", lambda data: edited(data, num_train_classes=-1)),
    refused("absurd number of classes", lambda data: edited(data, num_train_classes=2**80)),
    refused("scaling that is not there", lambda data: edited(data, scales_inputs=True)),
    refused("steps over the limit", lambda data: edited(data, max_steps=101)),
    refused("more default steps than steps", lambda data: edited(data, default_steps=11, max_steps=10)),
    refused("negative steps", lambda data: edited(data, default_steps=-1)),
    refused("no steps", lambda data: edited(data, default_steps=None)),
    refused("no largest steps", lambda data: edited(data, max_steps=None)),
    refused("steps beyond 64 bits", lambda data: edited(data, max_steps=2**80, default_steps=2**79)),
]  # fmt: skip
WRONG_WEIGHTS = [
    refused("NaN", lambda data: with_leaf(data, "trained.head.bias", torch.tensor([torch.nan]))),
    refused("infinity", lambda data: with_leaf(data, "trained.head.bias", torch.tensor([torch.inf]))),
    refused("NaN in what stays", lambda data: with_leaf(data, "fixed.rate", torch.tensor(torch.nan))),
    refused("another shape", lambda data: with_leaf(data, "trained.head.bias", torch.zeros(2))),
    refused("another type", lambda data: with_leaf(data, "trained.head.bias", torch.zeros(1, dtype=torch.float16))),
    refused("a leaf too many", lambda data: with_leaf(data, "trained.more", torch.zeros(1))),
    refused("no leaves", lambda data: to_bytes({}, metadata_of(data))),
    refused("the leaves of another model", lambda data: to_bytes({"a": torch.zeros(3)}, metadata_of(data))),
]


@pytest.fixture
def free(http: httpx.Client) -> Iterator[str]:
    """A name that no model has, after the test either."""
    name = new_name()
    yield name
    problem_of(http.get(f"/models/{name}"), 404, "model-not-found")


@pytest.mark.parametrize("make", [*WRONG_CARDS, *WRONG_WEIGHTS])
def test_file_that_is_no_model_is_refused(http: httpx.Client, free: str, file: bytes, make: Any) -> None:
    problem = problem_of(send(http, free, make(file)), 422, "invalid-weights")
    assert len(problem.detail) < 1000


@pytest.mark.parametrize(
    "fields",
    [
        '"metrics": {"loss": NaN}',
        '"metrics": {"loss": Infinity}',
        '"metrics": {"loss": 1e999}',
        '"provenance": {"by": "\\ud800"}',
        '"provenance": {"\\ud800": 1}',
        '"provenance": {"number": ' + "9" * 400 + "}",
        '"provenance": {"deep": ' + "[" * 400 + "]" * 400 + "}",
        '"provenance": {"zero": "a\\u0000b"}',
        '"metrics": {"a": ["b", {"c": -0.0}]}',
    ],
    ids=lambda text: text[:32],
)
def test_whatever_is_told_of_a_model_is_taken_and_shown_or_refused(
    http: httpx.Client, file: bytes, fields: str
) -> None:
    name = new_name()
    text = json.dumps(card_of(file))[:-1] + f", {fields}}}"
    answer = send(http, name, with_card(file, text))
    if answer.status_code == 201:
        assert http.get(f"/models/{name}").json()["versions"] == [answer.json()]
    else:
        problem_of(answer, 422, "invalid-weights")
        problem_of(http.get(f"/models/{name}"), 404, "model-not-found")
    assert http.get("/models?limit=500").status_code == 200


NO_SAFETENSORS = {
    "nothing": b"",
    "text": b"weights",
    "JSON": b'{"a": 1}',
    "a pickle of a call": b"cbuiltins\nprint\n(S'executed'\ntR.",
    "a zip, as torch writes it": b"PK\x03\x04" + bytes(100),
    "a length without a header": b"\xff" * 8,
    "a huge header": (2**40).to_bytes(8, "little") + b"{}",
    "no JSON in the header": (4).to_bytes(8, "little") + b"nope",
    "a header of another kind": (2).to_bytes(8, "little") + b"[]",
    "a type that torch has not": (54).to_bytes(8, "little")
    + b'{"a":{"dtype":"F4","shape":[8],"data_offsets":[0,4]}}  '[:54]
    + bytes(4),
}


@pytest.mark.parametrize("what", NO_SAFETENSORS)
def test_what_is_no_safetensors_file_is_refused(http: httpx.Client, free: str, what: str) -> None:
    problem_of(send(http, free, NO_SAFETENSORS[what]), 400, "not-safetensors")


@pytest.mark.parametrize("length", [1, 7, 8, 50, 1000, -1])
def test_file_that_was_cut_off_is_refused(http: httpx.Client, free: str, file: bytes, length: int) -> None:
    problem_of(send(http, free, file[:length]), 400, "not-safetensors")


def test_json_is_not_a_model(http: httpx.Client, free: str) -> None:
    problem_of(http.post(f"/models/{free}/versions", json={}), 415, "unsupported-media-type")


@pytest.mark.parametrize("name", ["a.b", "x" * 65, "a%20b"])
def test_names_that_are_none_are_refused(http: httpx.Client, name: str, file: bytes) -> None:
    problem_of(send(http, name, file), 422, "invalid-id")


@pytest.mark.parametrize("method", ["GET", "DELETE"])
def test_versions_that_are_not_there_are_not_found(http: httpx.Client, method: str) -> None:
    tail = "/weights" if method == "GET" else ""
    problem_of(http.request(method, f"/models/none/versions/1{tail}"), 404, "model-not-found")
    for version in (99, 2**63 - 1):
        problem_of(http.request(method, f"/models/sinusoid/versions/{version}{tail}"), 404, "version-not-found")
    for text in ("0", "-1", "x", "1.5", str(2**63), "9" * 400):
        problem_of(http.request(method, f"/models/sinusoid/versions/{text}{tail}"), 422, "invalid-request")


def test_version_that_a_task_uses_is_not_deleted(http: httpx.Client, task_id: str, file: bytes) -> None:
    name = new_name()
    send(http, name, file)
    send(http, name, with_leaf(file, "trained.head.bias", torch.tensor([1.0])))
    adapt(http, task_id=task_id, model=f"{name}@2")
    problem_of(http.delete(f"/models/{name}/versions/2"), 409, "version-in-use")
    assert outputs(http, task_id=task_id, inputs=[[0.5]])
    assert http.delete(f"/tasks/{task_id}").status_code == 204
    assert http.delete(f"/models/{name}/versions/2").status_code == 204
    problem_of(http.get(f"/models/{name}/versions/2/weights"), 404, "version-not-found")
    problem_of(http.post("/adapt", json={"model": f"{name}@2", "support": sine(2)}), 404, "version-not-found")


def test_active_version_of_several_is_not_deleted(http: httpx.Client, file: bytes) -> None:
    name = new_name()
    send(http, name, file)
    send(http, name, with_leaf(file, "trained.head.bias", torch.tensor([1.0])))
    assert "promote" in problem_of(http.delete(f"/models/{name}/versions/1"), 409, "version-in-use").detail
    assert http.post(f"/models/{name}/promote", json={"version": 2}).status_code == 200
    assert http.delete(f"/models/{name}/versions/1").status_code == 204


def test_number_of_a_deleted_version_is_never_given_again(http: httpx.Client, file: bytes) -> None:
    name = new_name()
    others = [with_leaf(file, "trained.head.bias", torch.tensor([float(n)])) for n in range(3)]
    assert [send(http, name, data).json()["version"] for data in others[:2]] == [1, 2]
    answer = http.delete(f"/models/{name}/versions/2")
    assert (answer.status_code, answer.content) == (204, b"")
    assert send(http, name, others[2]).json()["version"] == 3
    problem_of(http.delete(f"/models/{name}/versions/2"), 404, "version-not-found")
    for version in (3, 1):
        assert http.delete(f"/models/{name}/versions/{version}").status_code == 204
    problem_of(http.get(f"/models/{name}"), 404, "model-not-found")
    assert send(http, name, others[1]).json()["version"] == 4
    assert http.get(f"/models/{name}").json()["active_version"] == 4
