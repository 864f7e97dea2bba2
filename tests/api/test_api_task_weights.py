"""Claims about the weights of a task: with plain torch they give the numbers that /predict gives."""

import json
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
import torch
from torch import Tensor
from torch.nn import functional

from app.trees import from_bytes, metadata_of, sha256
from innerloop.wire import DatasetInfo
from tests.api.asking import adapt, close, outputs, predict, problem_of, sine
from tests.api.data_files import grouped_arrays, npz_of, upload
from tests.api.drawings import MODEL, rows_of
from tests.api.service import Service
from tests.api.tiny_jobs import new_name, train

INPUTS = [[-3.0], [0.5], [4.25]]


def weights(http: httpx.Client, task_id: str, **params: Any) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Return the tensors and the metadata of a task's file."""
    answer = http.get(f"/tasks/{task_id}/weights", params=params)
    assert answer.status_code == 200, answer.text
    assert answer.headers["Content-Type"] == "application/vnd.safetensors"
    assert answer.headers["ETag"] == f'"{sha256(answer.content)}"'
    assert ".safetensors" in answer.headers["Content-Disposition"]
    return from_bytes(answer.content), metadata_of(answer.content)


def mlp(tree: dict[str, Tensor], rows: Tensor, num_hidden: int) -> Tensor:
    """Return the outputs of a perceptron, as anybody would write it down."""
    for layer in range(num_hidden):
        rows = torch.relu(rows @ tree[f"body.{layer}.weight"].T + tree[f"body.{layer}.bias"])
    return rows @ tree["head.weight"].T + tree["head.bias"]


def conv4(tree: dict[str, Tensor], pictures: Tensor, groups: int) -> Tensor:
    """Return the logits of four strided convolutions over pictures whose rarer tone is ink."""
    mostly_light = pictures.mean(dim=(1, 2, 3), keepdim=True) > 0.5
    maps = torch.where(mostly_light, 1.0 - pictures, pictures)
    for block in range(4):
        maps = functional.conv2d(maps, tree[f"body.{block}.conv.weight"], stride=2, padding=1)
        maps = functional.group_norm(maps, groups, tree[f"body.{block}.norm.weight"], tree[f"body.{block}.norm.bias"])
        maps = maps.relu()
    return maps.flatten(1) @ tree["head.weight"].T + tree["head.bias"]


def test_full_weights_give_the_predictions_in_plain_torch(http: httpx.Client, task_id: str) -> None:
    adapt(http, task_id=task_id, support=sine(8), steps=5)
    tree, _ = weights(http, task_id)
    assert close(mlp(tree, torch.tensor(INPUTS), 2).tolist(), outputs(http, task_id=task_id, inputs=INPUTS))


def test_full_weights_of_a_classifier_give_its_probabilities(http: httpx.Client, task_id: str) -> None:
    support = rows_of(["x", "y", "z"], [2, 2, 2])
    answer = http.post("/adapt", json={"task_id": task_id, "model": MODEL, "support": support})
    assert answer.status_code == 201, answer.text
    tree, metadata = weights(http, task_id)
    pictures = rows_of(["x", "y", "z"], [1, 1, 1], first=6)["inputs"]
    card, task = json.loads(metadata["card"]), json.loads(metadata["task"])
    logits = conv4(tree, torch.tensor(pictures), card["network"].get("groups", 8))[:, : len(task["classes"])]
    found = predict(http, task_id=task_id, inputs=pictures)
    assert task["classes"] == found.classes == ["x", "y", "z"]
    assert close(logits.softmax(dim=1).tolist(), found.probabilities)


@pytest.fixture(scope="module")
def scaled(service: Service) -> Iterator[str]:
    """A model that centres and divides its rows."""
    data: DatasetInfo = upload(service.http, npz_of(grouped_arrays()), "a.npz", name=new_name("data"), kind="grouped")
    tasks = {"kind": "grouped", "dataset": data.name, "shots": 5, "queries": 5}
    yield train(service.http, tasks=tasks).name
    assert service.http.delete(f"/datasets/{data.name}").status_code == 204


def test_full_weights_of_a_model_with_scaling_hold_what_it_scales_by(
    http: httpx.Client, task_id: str, scaled: str
) -> None:
    support = {"inputs": [[10.0], [50.0], [90.0]], "targets": [900.0, 1000.0, 1100.0]}
    adapt(http, task_id=task_id, model=scaled, support=support, steps=3)
    tree, metadata = weights(http, task_id)
    card = json.loads(metadata["card"])
    assert (card["scales_inputs"], card["scales_targets"]) == (True, True)
    rows = torch.tensor([[0.0], [30.0], [100.0]])
    hidden = mlp(tree, (rows - tree["scaling.inputs.mean"]) / tree["scaling.inputs.std"], 1)
    by_hand = hidden * tree["scaling.targets.std"] + tree["scaling.targets.mean"]
    assert close(by_hand.tolist(), outputs(http, task_id=task_id, inputs=rows.tolist()))
    assert 900.0 < float(tree["scaling.targets.mean"]) < 1100.0


def test_delta_is_what_adaptation_changed(http: httpx.Client, task_id: str) -> None:
    adapt(http, task_id=task_id, support=sine(8), steps=5)
    full, _ = weights(http, task_id)
    delta, _ = weights(http, task_id, form="delta")
    model = from_bytes(http.get("/models/sinusoid/versions/1/weights").content)
    initial = {name.partition(".")[2]: leaf for name, leaf in model.items()}
    assert {*full} == {*initial, *delta}
    for name, leaf in full.items():
        assert torch.equal(leaf, delta[name] if name in delta else initial[name]), name
    assert not torch.equal(delta["head.weight"], initial["head.weight"])
    untouched, _ = weights(http, adapt(http, support=sine(8), steps=0).task_id)
    assert all(torch.equal(untouched[name], initial[name]) for name in initial)


def test_card_and_task_are_in_the_metadata(http: httpx.Client, task_id: str) -> None:
    answer = adapt(http, task_id=task_id, support=sine(8), steps=5)
    for form in ("full", "delta"):
        _, metadata = weights(http, task_id, form=form)
        card, task = json.loads(metadata["card"]), json.loads(metadata["task"])
        (shown,) = http.get("/models/sinusoid").json()["versions"]
        assert {name: card[name] for name in ("learner", "network", "metrics", "provenance")} == {
            name: shown[name] for name in ("learner", "network", "metrics", "provenance")
        }
        assert task == {
            "task_id": task_id,
            "revision": answer.revision,
            "model": "sinusoid",
            "model_version": 1,
            "steps": 5,
            "support_size": 8,
            "classes": None,
            "form": form,
        }


def test_weights_of_each_revision_stay(http: httpx.Client, task_id: str) -> None:
    trees, predicted = [], []
    for rows in (4, 6):
        adapt(http, task_id=task_id, support=sine(rows))
        trees.append(weights(http, task_id)[0])
        predicted.append(outputs(http, task_id=task_id, inputs=INPUTS))
    assert not torch.equal(trees[0]["head.weight"], trees[1]["head.weight"])
    for revision in (1, 2):
        again, metadata = weights(http, task_id, revision=revision)
        assert all(torch.equal(again[name], leaf) for name, leaf in trees[revision - 1].items())
        assert json.loads(metadata["task"])["revision"] == revision
        assert close(mlp(again, torch.tensor(INPUTS), 2).tolist(), predicted[revision - 1])


def test_weights_are_those_of_the_version_that_was_adapted_from(http: httpx.Client, task_id: str) -> None:
    name = new_name()
    file = http.get("/models/sinusoid/versions/1/weights").content
    headers = {"Content-Type": "application/vnd.safetensors"}
    assert http.post(f"/models/{name}/versions", content=file, headers=headers).status_code == 201
    adapt(http, task_id=task_id, model=name, steps=0)
    before, _ = weights(http, task_id)
    train(http, name=name, promote="always", network={"kind": "mlp", "hidden": [40, 40]})
    after, metadata = weights(http, task_id)
    assert all(torch.equal(before[leaf], after[leaf]) for leaf in before)
    assert json.loads(metadata["task"])["model_version"] == 1


def test_what_is_not_there_is_not_found(http: httpx.Client, task_id: str) -> None:
    problem_of(http.get(f"/tasks/{task_id}/weights"), 404, "task-not-found")
    adapt(http, task_id=task_id)
    for revision in (2, 2**63 - 1):
        problem_of(http.get(f"/tasks/{task_id}/weights?revision={revision}"), 404, "revision-not-found")
    assert http.delete(f"/tasks/{task_id}").status_code == 204
    problem_of(http.get(f"/tasks/{task_id}/weights"), 404, "task-not-found")


@pytest.mark.parametrize(
    "query", ["form=other", "form=", "form=Full", "revision=0", "revision=-1", "revision=x", f"revision={2**63}"]
)
def test_wrong_parameters_are_refused(http: httpx.Client, task_id: str, query: str) -> None:
    adapt(http, task_id=task_id)
    problem_of(http.get(f"/tasks/{task_id}/weights?{query}"), 422, "invalid-request")


def test_ids_that_are_none_are_refused(http: httpx.Client) -> None:
    problem_of(http.get("/tasks/a.b/weights"), 422, "invalid-id")
