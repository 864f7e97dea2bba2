"""Claims about /v2 as the public client of the Open Inference Protocol sees it, the blocking and the awaiting one."""

from collections.abc import Awaitable, Callable, Iterator
from typing import Any
from uuid import uuid4

import numpy as np
import pytest
import tritonclient.http as blocking
import tritonclient.http.aio as awaiting
from tritonclient.utils import InferenceServerException

from innerloop import __version__
from tests.api.asking import adapt, close, predict
from tests.api.drawings import MODEL, drawing, picture, rows_of
from tests.api.service import Service, start_service

Call = Callable[..., Awaitable[Any]]
X = np.array([[0.5], [1.5], [-2.0]], dtype=np.float32)


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    running = start_service(tmp_path_factory.mktemp("triton"))
    yield running
    running.stop()


@pytest.fixture(params=["blocking", "awaiting"])
def triton(request: pytest.FixtureRequest, service: Service) -> Call:
    """Call a method of a client by name."""
    address = service.url.removeprefix("http://")

    async def call_blocking(method: str, *arguments: Any, **options: Any) -> Any:
        with blocking.InferenceServerClient(address) as client:
            return getattr(client, method)(*arguments, **options)

    async def call_awaiting(method: str, *arguments: Any, **options: Any) -> Any:
        async with awaiting.InferenceServerClient(address) as client:
            return await getattr(client, method)(*arguments, **options)

    return call_blocking if request.param == "blocking" else call_awaiting


@pytest.fixture
def task_id(service: Service) -> str:
    """A task of `sinusoid`, at its second revision."""
    name = f"task-{uuid4().hex}"
    adapt(service.http, task_id=name, steps=1)
    adapt(service.http, task_id=name, steps=2)
    return name


def inputs(array: Any, datatype: str = "FP32", *, binary: bool = True) -> list[blocking.InferInput]:
    found = blocking.InferInput("inputs", list(array.shape), datatype)
    found.set_data_from_numpy(array, binary_data=binary)
    return [found]


def wanted(name: str, *, binary: bool = True, **options: Any) -> list[blocking.InferRequestedOutput]:
    return [blocking.InferRequestedOutput(name, binary_data=binary, **options)]


def outputs_of(service: Service, task_id: str, array: Any, **body: Any) -> Any:
    """Return what /predict answers."""
    return predict(service.http, task_id=task_id, inputs=array.tolist(), **body).outputs


async def test_server_tells_of_itself(triton: Call) -> None:
    assert await triton("is_server_live")
    assert await triton("is_server_ready")
    metadata = await triton("get_server_metadata")
    assert metadata == {"name": "innerloop", "version": __version__, "extensions": ["binary_tensor_data"]}


async def test_task_is_ready_by_name_and_revision(triton: Call, task_id: str) -> None:
    assert await triton("is_model_ready", task_id)
    assert await triton("is_model_ready", task_id, "1")
    assert not await triton("is_model_ready", task_id, "3")
    assert not await triton("is_model_ready", f"{task_id}-other")
    assert not await triton("is_model_ready", "../" + task_id)


async def test_task_is_described_as_a_model(triton: Call, task_id: str) -> None:
    metadata = await triton("get_model_metadata", task_id)
    assert (metadata["name"], metadata["versions"], metadata["platform"]) == (task_id, ["2", "1"], "innerloop")
    assert metadata["inputs"] == [{"name": "inputs", "datatype": "FP32", "shape": [-1, 1]}]
    assert metadata["outputs"] == [{"name": "outputs", "datatype": "FP32", "shape": [-1, 1]}]
    assert (await triton("get_model_metadata", task_id, "1"))["versions"] == ["2", "1"]


async def test_config_holds_what_load_generators_read(triton: Call, task_id: str) -> None:
    config = await triton("get_model_config", task_id, "1")
    assert config["max_batch_size"] == 10_000
    assert config["input"] == [{"name": "inputs", "data_type": "TYPE_FP32", "dims": [1]}]
    assert config["output"] == [{"name": "outputs", "data_type": "TYPE_FP32", "dims": [1]}]


async def test_infer_answers_what_predict_does(triton: Call, service: Service, task_id: str) -> None:
    result = await triton("infer", task_id, inputs(X), request_id="77")
    assert close(result.as_numpy("outputs"), outputs_of(service, task_id, X))
    response = result.get_response()
    assert (response["model_name"], response["model_version"], response["id"]) == (task_id, "2", "77")


async def test_infer_takes_a_revision(triton: Call, service: Service, task_id: str) -> None:
    result = await triton("infer", task_id, inputs(X), model_version="1")
    assert result.get_response()["model_version"] == "1"
    assert close(result.as_numpy("outputs"), outputs_of(service, task_id, X, revision=1))
    assert not close(result.as_numpy("outputs"), outputs_of(service, task_id, X))


@pytest.mark.parametrize("sent", [True, False])
@pytest.mark.parametrize("answered", [True, False])
async def test_tensors_go_as_bytes_or_as_json(
    triton: Call, service: Service, task_id: str, sent: bool, answered: bool
) -> None:
    result = await triton("infer", task_id, inputs(X, binary=sent), outputs=wanted("outputs", binary=answered))
    assert close(result.as_numpy("outputs"), outputs_of(service, task_id, X))
    assert ("data" in result.get_output("outputs")) is not answered


@pytest.mark.parametrize("algorithm", ["gzip", "deflate"])
async def test_bodies_may_be_compressed(triton: Call, service: Service, task_id: str, algorithm: str) -> None:
    options = {"request_compression_algorithm": algorithm, "response_compression_algorithm": algorithm}
    result = await triton("infer", task_id, inputs(X), **options)
    assert close(result.as_numpy("outputs"), outputs_of(service, task_id, X))


@pytest.mark.parametrize("datatype", ["FP16", "FP32", "FP64", "INT8", "INT16", "INT32", "INT64", "UINT8", "UINT64"])
async def test_numbers_of_every_type_are_taken(triton: Call, service: Service, task_id: str, datatype: str) -> None:
    name = datatype.lower().replace("fp", "float")
    array = np.array([[0], [1], [3]], dtype=name)
    result = await triton("infer", task_id, inputs(array, datatype))
    assert close(result.as_numpy("outputs"), outputs_of(service, task_id, array))


async def test_no_rows_give_no_rows(triton: Call, task_id: str) -> None:
    result = await triton("infer", task_id, inputs(np.zeros((0, 1), np.float32)))
    assert result.as_numpy("outputs").shape == (0, 1)


async def test_classes_are_answered_as_probabilities_and_labels(triton: Call, service: Service) -> None:
    names, name = ["ä", "b", "c"], f"task-{uuid4().hex}"
    service.http.post("/adapt", json={"task_id": name, "model": MODEL, "support": rows_of(names, [2] * 3)})
    queries = np.array(rows_of(names, [1] * 3, first=5)["inputs"], dtype=np.float32)
    found = predict(service.http, task_id=name, inputs=queries.tolist())
    result = await triton("infer", name, inputs(queries))
    assert close(result.as_numpy("probabilities"), found.probabilities)
    assert [label.decode() for label in result.as_numpy("labels")] == found.labels
    alone = await triton("infer", name, inputs(queries), outputs=wanted("labels", binary=False))
    assert alone.as_numpy("labels").tolist() == found.labels
    assert alone.as_numpy("probabilities") is None
    unsure = await triton("infer", name, inputs(queries), parameters={"abstain_below": 1.0})
    assert set(unsure.as_numpy("labels").tolist()) <= {b"", *(name.encode() for name in names)}
    metadata = await triton("get_model_metadata", name)
    assert metadata["inputs"] == [{"name": "inputs", "datatype": "FP32", "shape": [-1, 1, 28, 28]}]
    assert [(output["name"], output["shape"]) for output in metadata["outputs"]] == [
        ("probabilities", [-1, 3]),
        ("labels", [-1]),
    ]


async def test_pictures_go_as_bytes_of_tones_and_as_files(triton: Call, service: Service) -> None:
    name = f"task-{uuid4().hex}"
    service.http.post("/adapt", json={"task_id": name, "model": MODEL, "support": rows_of([1, 2], [2, 2])})
    tones = np.asarray(picture(0, 5).resize((28, 28)), dtype=np.uint8)[None, None]
    by_tone = await triton("infer", name, inputs(tones, "UINT8"))
    by_number = await triton("infer", name, inputs(tones.astype(np.float32) / np.float32(255)))
    assert np.array_equal(by_tone.as_numpy("probabilities"), by_number.as_numpy("probabilities"))
    files = np.array([drawing(0, 5), drawing(5, 5)], dtype=np.object_)
    by_file = await triton("infer", name, inputs(files, "BYTES"))
    assert by_file.as_numpy("labels").tolist() == [b"1", b"2"]


async def test_repository_lists_the_task_that_changed_last_first(triton: Call, service: Service, task_id: str) -> None:
    (first, *_) = await triton("get_model_repository_index")
    assert first == {"name": task_id, "version": "2", "state": "READY", "reason": ""}
    adapt(service.http, task_id=f"{task_id}-b")
    names = [entry["name"] for entry in await triton("get_model_repository_index")]
    assert names[:2] == [f"{task_id}-b", task_id]


async def test_task_is_loaded_and_unloaded_and_answers_the_same(triton: Call, service: Service, task_id: str) -> None:
    before = outputs_of(service, task_id, X)
    await triton("load_model", task_id)
    await triton("unload_model", task_id)
    assert await triton("is_model_ready", task_id)
    assert close((await triton("infer", task_id, inputs(X))).as_numpy("outputs"), before)


async def test_statistics_count_answers_rows_and_failures(triton: Call, task_id: str) -> None:
    (nothing,) = (await triton("get_inference_statistics", task_id))["model_stats"]
    assert (nothing["version"], nothing["inference_count"], nothing["last_inference"]) == ("2", 0, 0)
    await triton("infer", task_id, inputs(X))
    await triton("infer", task_id, inputs(X))
    with pytest.raises(InferenceServerException):
        await triton("infer", task_id, inputs(np.zeros((1, 2), np.float32)))
    await triton("infer", task_id, inputs(X), model_version="1")
    (counted,) = (await triton("get_inference_statistics", task_id, "2"))["model_stats"]
    assert (counted["inference_count"], counted["execution_count"]) == (6, 2)
    stats = counted["inference_stats"]
    assert stats["success"]["count"] == 2
    assert stats["success"]["ns"] >= stats["compute_infer"]["ns"] + stats["queue"]["ns"] > 0
    assert stats["fail"]["count"] == 1
    of_task = (await triton("get_inference_statistics", task_id))["model_stats"]
    assert {found["version"] for found in of_task} == {"1", "2"}
    of_all = (await triton("get_inference_statistics"))["model_stats"]
    assert {(task_id, "1"), (task_id, "2")} <= {(found["name"], found["version"]) for found in of_all}


async def test_statistics_forget_a_deleted_task(triton: Call, service: Service, task_id: str) -> None:
    await triton("infer", task_id, inputs(X))
    service.http.delete(f"/tasks/{task_id}")
    of_all = (await triton("get_inference_statistics"))["model_stats"]
    assert task_id not in {found["name"] for found in of_all}
    with pytest.raises(InferenceServerException, match="there is no task"):
        await triton("get_inference_statistics", task_id)


SHARED = ("get_system_shared_memory_status", "get_cuda_shared_memory_status", "get_trace_settings", "get_log_settings")


@pytest.mark.parametrize("method", SHARED)
async def test_what_is_not_there_is_an_error_that_the_client_reads(triton: Call, method: str) -> None:
    with pytest.raises(InferenceServerException, match="there is no '/v2/") as caught:
        await triton(method)
    assert "404" in caught.value.status()


@pytest.mark.parametrize(
    ("name", "version", "error"),
    [
        ("nobody", "", "there is no task"),
        ("a/b", "", "there is no '/v2/models/a/b/infer'"),
        ("../../predict", "", "there is no|is not taken"),
        ("é", "", "task_id"),
        ("a" * 300, "", "task_id"),
        ("nobody", "x", "revision"),
        ("nobody", "0", "revision"),
    ],
)
async def test_task_that_is_not_there_is_an_error_that_the_client_reads(
    triton: Call, name: str, version: str, error: str
) -> None:
    with pytest.raises(InferenceServerException, match=error):
        await triton("infer", name, inputs(X), model_version=version)


REFUSED: list[tuple[str, list[blocking.InferInput], dict[str, Any]]] = [
    ("classification is not taken", inputs(X), {"outputs": wanted("outputs", class_count=2)}),
    ("there is no output 'labels'; the task has outputs", inputs(X), {"outputs": wanted("labels")}),
    (r"inputs\[0\] has 2 numbers; sinusoid@1 takes 1", inputs(np.zeros((1, 2), np.float32)), {}),
    (r"inputs\[1\]\[0\] is not finite", inputs(np.array([[0], [np.nan]], np.float32)), {}),
    ("datatype 'BOOL' is not taken", inputs(np.array([[True]]), "BOOL"), {}),
    ("10001 rows; at most 10000", inputs(np.zeros((10_001, 1), np.float32)), {}),
    ("sequence_id is not taken", inputs(X), {"sequence_id": 7, "sequence_start": True}),
    ("no sentences", inputs(np.array([b"a word"], dtype=np.object_), "BYTES"), {}),
]


@pytest.mark.parametrize(("error", "given", "options"), REFUSED)
async def test_request_that_cannot_be_met_says_why(
    triton: Call, task_id: str, error: str, given: list[blocking.InferInput], options: dict[str, Any]
) -> None:
    with pytest.raises(InferenceServerException, match=error):
        await triton("infer", task_id, given, **options)


async def test_shared_memory_is_refused(triton: Call, task_id: str) -> None:
    region = blocking.InferInput("inputs", [3, 1], "FP32")
    region.set_shared_memory("region", 12)
    with pytest.raises(InferenceServerException, match="no shared memory"):
        await triton("infer", task_id, [region])
    output = blocking.InferRequestedOutput("outputs")
    output.set_shared_memory("region", 12)
    with pytest.raises(InferenceServerException, match="no shared memory"):
        await triton("infer", task_id, inputs(X), outputs=[output])


async def test_task_is_loaded_from_nowhere_but_the_store(triton: Call, task_id: str) -> None:
    with pytest.raises(InferenceServerException, match="no config and no files"):
        await triton("load_model", task_id, config='{"platform": "x"}')
    with pytest.raises(InferenceServerException, match="there is no task"):
        await triton("load_model", f"{task_id}-other")
    with pytest.raises(InferenceServerException, match="there is no task"):
        await triton("unload_model", f"{task_id}-other")
