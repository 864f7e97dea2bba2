"""Claims about /datasets: what is uploaded in any form can be trained on, and models of it take the caller's units."""

import io
import math
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from safetensors.numpy import save as safetensors_of

from innerloop.wire import DatasetInfo, JobInfo, Page
from tests.api.asking import outputs, predict, problem_of
from tests.api.data_files import (
    NUM_CLASSES,
    NUM_GROUPS,
    PER_CLASS,
    PER_GROUP,
    csv_of,
    drawings_zip,
    grouped_arrays,
    labelled_arrays,
    npz_of,
    send,
    upload,
)
from tests.api.drawings import in_base64, picture, rows_of, saved
from tests.api.tiny_jobs import cancel, new_name, running, start, train
from tests.serving.jobs import end_of

FIELDS = {
    "name", "kind", "rows", "classes", "groups", "input", "output", "input_names", "target_names", "split", "bytes",
    "sha256", "created_at",
}  # fmt: skip
LEARNING: dict[str, Any] = {
    "network": {"kind": "mlp", "hidden": [32]},
    "learner": {"kind": "maml", "steps": 3, "learning_rate": 0.1},
    "iterations": 300,
    "validate_every": 100,
    "meta_batch_size": 8,
    "meta_learning_rate": 0.005,
}


def grouped_columns() -> dict[str, Any]:
    arrays = grouped_arrays()
    return {
        "patient": arrays["groups"].tolist(),
        "age": arrays["inputs"][:, 0].tolist(),
        "score": arrays["targets"].tolist(),
    }


def parquet_of(columns: dict[str, Any]) -> bytes:
    file = io.BytesIO()
    pq.write_table(pa.table(columns), file)
    return file.getvalue()


def raw(arrays: dict[str, Any]) -> dict[str, Any]:
    """Return arrays with names as numbers, since safetensors holds no strings."""
    return {
        name: np.unique(values, return_inverse=True)[1].astype(np.int64) if values.dtype.kind == "U" else values
        for name, values in arrays.items()
    }


LABELLED = {"kind": "labelled", "rows": NUM_CLASSES * PER_CLASS, "classes": NUM_CLASSES, "groups": NUM_CLASSES // 2}
GROUPED = {"kind": "grouped", "rows": NUM_GROUPS * PER_GROUP, "classes": None, "groups": NUM_GROUPS}
FORMS: dict[str, tuple[bytes, str, dict[str, Any], dict[str, Any]]] = {
    "npz of classes": (npz_of(labelled_arrays()), "a.npz", {"kind": "labelled"}, LABELLED),
    "npz of groups": (npz_of(grouped_arrays()), "a.npz", {"kind": "grouped"}, GROUPED),
    "safetensors of classes": (
        safetensors_of(raw(labelled_arrays())),
        "a.safetensors",
        {"kind": "labelled", "split": {"by": "group"}},
        LABELLED,
    ),
    "safetensors of groups": (safetensors_of(raw(grouped_arrays())), "a.safetensors", {"kind": "grouped"}, GROUPED),
    "CSV of groups": (
        csv_of(grouped_columns()),
        "a.csv",
        {"kind": "grouped", "targets": "score", "group": "patient"},
        GROUPED | {"input_names": ["age"], "target_names": ["score"]},
    ),
    "Parquet of groups": (
        parquet_of(grouped_columns()),
        "a.parquet",
        {"kind": "grouped", "inputs": ["age"], "targets": "score", "group": "patient"},
        GROUPED | {"input_names": ["age"], "target_names": ["score"]},
    ),
    "zip of class folders": (
        drawings_zip(),
        "a.zip",
        {"kind": "labelled"},
        {"kind": "labelled", "rows": 54, "classes": 9, "groups": None},
    ),
}  # fmt: skip


@pytest.mark.parametrize("form", FORMS)
def test_every_form_is_taken_and_described(http: httpx.Client, form: str) -> None:
    file, filename, spec, expected = FORMS[form]
    name = new_name("data")
    info = upload(http, file, filename, name=name, **spec)
    shown = http.get(f"/datasets/{name}").json()
    assert shown.keys() >= FIELDS
    assert DatasetInfo.model_validate(shown) == info
    assert shown.items() >= expected.items(), shown
    assert info.split.by == spec.get("split", {}).get("by", "class" if info.kind == "labelled" else "group")
    members = info.split.train + info.split.validation + info.split.test
    assert members == (info.classes if info.kind == "labelled" else info.groups)
    assert min(info.split.train, info.split.validation, info.split.test) >= 1
    assert info.split.fractions == [0.7, 0.15, 0.15]
    assert len(info.sha256) == 64
    assert info.bytes > 0
    again = upload(http, file, filename, status=200, name=name, **spec)
    assert again == info
    assert http.delete(f"/datasets/{name}").status_code == 204
    problem_of(http.get(f"/datasets/{name}"), 404, "dataset-not-found")
    problem_of(http.delete(f"/datasets/{name}"), 404, "dataset-not-found")


def test_pictures_are_of_the_size_asked_for_and_grey_as_they_are(http: httpx.Client) -> None:
    info = upload(http, drawings_zip(4, 2), "a.zip", name=new_name("data"), kind="labelled", picture_size=16)
    assert (info.input.kind, info.input.shape) == ("image", [1, 16, 16])
    assert (info.output.kind, info.output.shape) == ("classification", [4])


def test_other_data_under_the_same_name_is_refused(http: httpx.Client) -> None:
    name = new_name("data")
    first = upload(http, npz_of(grouped_arrays()), "a.npz", name=name, kind="grouped")
    problem_of(send(http, npz_of(grouped_arrays(seed=1)), "a.npz", name=name, kind="grouped"), 409, "dataset-exists")
    other_split = {"split": {"fractions": [0.5, 0.25, 0.25]}}
    again = send(http, npz_of(grouped_arrays()), "a.npz", name=name, kind="grouped", **other_split)
    problem_of(again, 409, "dataset-exists")
    assert DatasetInfo.model_validate_json(http.get(f"/datasets/{name}").content) == first


def test_the_same_upload_from_many_at_once_is_stored_once(http: httpx.Client) -> None:
    name, file = new_name("data"), npz_of(grouped_arrays())
    with ThreadPoolExecutor(8) as threads:
        answers = list(threads.map(lambda _: send(http, file, "a.npz", name=name, kind="grouped"), range(8)))
    assert sorted(answer.status_code for answer in answers) == [200] * 7 + [201]
    assert all(answer.json() == answers[0].json() for answer in answers)


def test_data_sets_are_listed_by_name_in_pages(http: httpx.Client) -> None:
    stem = new_name("page")[:50]
    names = [f"{stem}-{letter}" for letter in "cab"]
    for name in names:
        upload(http, npz_of(grouped_arrays()), "a.npz", name=name, kind="grouped")
    seen: list[str] = []
    cursor: str | None = None
    while True:
        params = {"limit": "2", **({"after": cursor} if cursor else {})}
        page = Page[DatasetInfo].model_validate_json(http.get("/datasets", params=params).content)
        seen += [info.name for info in page.data]
        cursor = page.next
        if cursor is None:
            break
    assert seen == sorted(set(seen))
    assert [name for name in seen if name in names] == sorted(names)


def test_model_of_a_table_answers_in_the_units_of_the_table(http: httpx.Client) -> None:
    file, filename, spec, _ = FORMS["CSV of groups"]
    data = upload(http, file, filename, name=new_name("data"), **spec)
    tasks = {"kind": "grouped", "dataset": data.name, "shots": 8, "queries": 8}
    job = train(http, **LEARNING, tasks=tasks)
    x = np.linspace(5.0, 95.0, 10)
    y = 1100.0 + 1.5 * (x - 50.0)
    support = {"inputs": x[:, None].tolist(), "targets": y.tolist()}
    found = np.array(outputs(http, model=job.name, support=support, inputs=[[20.0], [50.0], [80.0]]))[:, 0]
    assert np.abs(found - np.array([1055.0, 1100.0, 1145.0])).max() < 60.0, found
    # Before adaptation the model says what its training split is like, in its units.
    fresh = np.array(outputs(http, model=job.name, support=support, steps=0, inputs=[[50.0]]))[0, 0]
    assert 800.0 < fresh < 1200.0
    (version,) = http.get(f"/models/{job.name}").json()["versions"]
    assert version["provenance"]["data"] == {data.name: {"sha256": data.sha256}}
    loss = version["metrics"]["test"]["by_shots_and_step"]["8"]["3"]["loss"]["mean"]
    assert 1.0 < math.sqrt(loss) < 200.0, "a loss in the squared units of the targets"


def test_model_of_labelled_rows_tells_new_classes_apart(http: httpx.Client) -> None:
    data = upload(http, npz_of(labelled_arrays()), "a.npz", name=new_name("data"), kind="labelled")
    tasks = {"kind": "labelled", "dataset": data.name, "ways": 2, "shots": [1, 3], "queries": 4}
    learner = {"kind": "anil", "head": "class_means"}
    job = train(http, **{**LEARNING, "learner": learner}, tasks=tasks)
    assert job.progress.validation_accuracy is not None
    assert job.progress.validation_accuracy > 0.6
    new = labelled_arrays(2, 6, seed=7)["inputs"].tolist()
    support = {"inputs": new[:3] + new[6:9], "targets": ["left"] * 3 + ["right"] * 3}
    answer = predict(http, model=job.name, support=support, inputs=new[3:6] + new[9:])
    assert answer.labels == ["left"] * 3 + ["right"] * 3


def test_model_of_pictures_takes_pictures(http: httpx.Client) -> None:
    split = {"fractions": [0.4, 0.3, 0.3]}
    data = upload(http, drawings_zip(), "a.zip", name=new_name("data"), kind="labelled", split=split)
    tasks = {"kind": "labelled", "dataset": data.name, "ways": 2, "shots": 1, "queries": 2}
    network = {"kind": "conv4", "filters": 4, "groups": 2}
    job = train(http, tasks=tasks, network=network, learner={"kind": "anil"}, iterations=4, validate_every=2)
    shown = http.get(f"/models/{job.name}").json()["versions"][0]
    assert (shown["input"]["shape"], shown["output"]["shape"]) == ([1, 28, 28], [2])
    support = rows_of(["one", "other"], [2, 2])
    files = [in_base64(saved(picture(character, 5), "PNG")) for character in (0, 1)]
    assert set(predict(http, model=job.name, support=support, inputs=files).labels or []) <= {"one", "other"}


def test_model_of_grouped_classes_keeps_the_classes_of_the_data(http: httpx.Client) -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(NUM_GROUPS * PER_GROUP, 2))
    columns = {
        "user": np.arange(NUM_GROUPS).repeat(PER_GROUP).tolist(),
        "a": x[:, 0].tolist(),
        "b": x[:, 1].tolist(),
        "likes": np.where(x.sum(axis=1) > 0, "yes", "no").tolist(),
    }
    file = parquet_of(columns)
    data = upload(http, file, "a.parquet", name=new_name("data"), kind="grouped", targets="likes", group="user")
    assert (data.output.kind, data.classes, data.input_names) == ("classification", 2, ["a", "b"])
    tasks = {"kind": "grouped", "dataset": data.name, "shots": 6, "queries": 6, "order": "first"}
    job = train(http, **{**LEARNING, "iterations": 20, "validate_every": 10}, tasks=tasks)
    support = {"inputs": [[1.0, 1.0], [-1.0, -1.0]], "targets": ["yes", "no"]}
    assert len(predict(http, model=job.name, support=support, inputs=[[2.0, 2.0]]).probabilities or []) == 1


@pytest.fixture
def data(http: httpx.Client) -> DatasetInfo:
    return upload(http, npz_of(grouped_arrays()), "a.npz", name=new_name("data"), kind="grouped")


def tasks_of(data: DatasetInfo) -> dict[str, Any]:
    return {"kind": "grouped", "dataset": data.name, "shots": 5, "queries": 5}


def test_data_of_queued_and_running_jobs_is_not_deleted_and_they_end_well(
    http: httpx.Client, data: DatasetInfo
) -> None:
    blocker: JobInfo = running(http, tasks=tasks_of(data))
    problem = problem_of(http.delete(f"/datasets/{data.name}"), 409, "dataset-in-use")
    assert blocker.job_id in problem.detail
    waiting = start(http, tasks=tasks_of(data))
    cancel(http, blocker)
    problem_of(http.delete(f"/datasets/{data.name}"), 409, "dataset-in-use")
    assert end_of(http, waiting.job_id).status == "succeeded"
    assert http.delete(f"/datasets/{data.name}").status_code == 204
    # What was cancelled has no data to go on with.
    problem_of(http.post(f"/meta-train/{blocker.job_id}/resume"), 404, "dataset-not-found")
    upload(http, npz_of(grouped_arrays(seed=9)), "a.npz", name=data.name, kind="grouped")
    problem = problem_of(http.post(f"/meta-train/{blocker.job_id}/resume"), 404, "dataset-not-found")
    assert "another has its name" in problem.detail
    assert http.get(f"/models/{waiting.name}").status_code == 200
