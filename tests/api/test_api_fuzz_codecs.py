"""Every codec of the service gives a value or an error of ours, whatever it is fed, and takes memory in proportion."""

import gzip
import io
import json
import tracemalloc
import zlib
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pyarrow import parquet
from pydantic import BaseModel
from safetensors.numpy import save

from app.api.body import json_list, parsed
from app.api.codec import Schema, query_inputs, support_rows, validation_query
from app.api.compression import unpacked
from app.api.model_uploads import uploaded_model
from app.card import Card
from app.datasets.caps import DatasetCaps
from app.datasets.read import read_dataset
from app.jobs.model_files import read_model_files
from app.jobs.plan import planned_run
from app.settings import REPOSITORY
from app.task_distributions.dataset import Dataset
from innerloop.errors import InnerloopError
from innerloop.wire import (
    AdaptRequest,
    AuthorityRequest,
    DatasetSpec,
    Limits,
    MetaTrainRequest,
    PredictRequest,
    PromoteRequest,
    SupportRows,
    ValidationRows,
)
from tests.api.asking import sine
from tests.api.data_files import csv_of, grouped_arrays, labelled_arrays, npz_of, zip_of
from tests.api.drawings import drawing, in_base64

MIB = 1024 * 1024
LIMITS = Limits(max_picture_pixels=20_000, max_network_parameters=100_000)
CAPS = DatasetCaps(max_rows=10_000, max_bytes=2 * MIB, max_entries=100, max_picture_pixels=20_000)
FUZZ = settings(derandomize=True, max_examples=40, deadline=None)
SCALARS = st.one_of(
    st.none(), st.booleans(), st.integers(), st.integers(2**62, 2**70), st.floats(), st.text(max_size=20),
    st.sampled_from(["", "a", "sinusoid", "sinusoid@1", "maml", "mlp", "grouped", "labelled", "x" * 300, "\0"]),
)  # fmt: skip
ANYTHING = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)


def held(read: Callable[[], Any], at_most: int) -> Any:
    """Return what reading gives, or its error of ours; nothing else is raised, and no more bytes are taken."""
    tracemalloc.start()
    try:
        return read()
    except InnerloopError as error:
        return error
    finally:
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak < at_most


def places(document: Any, above: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Give the path of every value in a document."""
    yield above
    parts = (
        document.items() if isinstance(document, dict) else enumerate(document) if isinstance(document, list) else ()
    )
    for name, part in parts:
        yield from places(part, (*above, name))


def replaced(document: Any, place: tuple[Any, ...], value: Any) -> Any:
    if not place:
        return value
    found = dict(document) if isinstance(document, dict) else list(document)
    found[place[0]] = replaced(found[place[0]], place[1:], value)
    return found


def mutated(data: st.DataObject, whole: bytes) -> bytes:
    """Draw a file with some bytes changed, cut out or cut off."""
    found = bytearray(whole)
    for _ in range(data.draw(st.integers(0, 5))):
        at = data.draw(st.integers(0, len(found) - 1))
        match data.draw(st.sampled_from(["set", "set", "set", "cut", "double", "number"])):
            case "set":
                found[at] = data.draw(st.integers(0, 255))
            case "cut":
                del found[at : at + data.draw(st.integers(1, 40))]
            case "double":
                found[at:at] = found[at : at + 100]
            case _:
                found[at : at + 4] = data.draw(
                    st.sampled_from([b"\xff" * 4, b"\0" * 4, b"\x7f\xff\xff\xff", b"\0\0\0\x80"])
                )
    return bytes(found) or b"\0"


FULL_ADAPT: dict[str, Any] = {
    "task_id": "a", "model": "sinusoid@1", "support": sine(2), "validation": sine(2), "steps": 1, "append": False,
    "learning_rate": 0.1, "on_divergence": "best", "ttl_seconds": 5, "if_revision": 0, "estimate": True,
}  # fmt: skip
JOB: dict[str, Any] = {
    "name": "a", "learner": {"kind": "maml", "steps": 1, "learning_rate": 0.01},
    "network": {"kind": "mlp", "hidden": [4]},
    "tasks": {"kind": "sinusoid", "shots": 5, "queries": 5}, "iterations": 10, "meta_batch_size": 2, "patience": None,
    "optimizer": "adam", "meta_learning_rate": 0.01, "learning_rate_schedule": "cosine", "clip_norm": 1.0, "seed": 0,
}  # fmt: skip
DOCUMENTS: dict[type[BaseModel], dict[str, Any]] = {
    AdaptRequest: FULL_ADAPT,
    PredictRequest: {"model": "sinusoid", "support": sine(2), "inputs": [[0.5]], "steps": 1, "abstain_below": 0.5},
    MetaTrainRequest: JOB,
    PromoteRequest: {"version": 1},
    AuthorityRequest: {"authority": "rows"},
    DatasetSpec: {"name": "a", "kind": "grouped", "inputs": ["x"], "split": {"fractions": [0.5, 0.3, 0.2], "seed": 1}},
}


@pytest.mark.parametrize("model", DOCUMENTS, ids=lambda model: model.__name__)
@FUZZ
@given(st.data())
def test_json_with_anything_in_it_is_a_request_or_an_error_of_ours(model: type[BaseModel], data: st.DataObject) -> None:
    document = DOCUMENTS[model]
    place = data.draw(st.sampled_from(list(places(document))))
    text = json.dumps(replaced(document, place, data.draw(ANYTHING))).encode("utf-8", "surrogatepass")
    assert isinstance(held(lambda: parsed(text, model), 4 * MIB), (model, InnerloopError))


@pytest.mark.parametrize("model", DOCUMENTS, ids=lambda model: model.__name__)
@FUZZ
@given(st.data())
def test_damaged_json_is_a_request_or_an_error_of_ours(model: type[BaseModel], data: st.DataObject) -> None:
    text = mutated(data, json.dumps(DOCUMENTS[model]).encode())
    assert isinstance(held(lambda: parsed(text, model), 4 * MIB), (model, InnerloopError))
    assert isinstance(held(lambda: json_list(b"[" + text + b"]"), 4 * MIB), (list, InnerloopError))


def card_of(name: str) -> Card:
    return read_model_files(REPOSITORY / "models" / f"{name}.safetensors").card


@cache
def schema_of(name: str) -> Schema:
    """Return what rows are held against; sentences would be all zeros."""
    card = card_of(name)
    return Schema(
        card, f"{name}@1", LIMITS, lambda texts, places: np.zeros((len(texts), card.input.shape[0]), np.float32)
    )


def rows_of(name: str) -> dict[str, Any]:
    if name == "sinusoid":
        return {"inputs": [[0.5], [1.0], [-1.0]], "targets": [0.1, 0.2, 0.3]}
    return {"inputs": [in_base64(drawing(0, n)) for n in range(3)], "targets": ["a", "b", "a"]}


@pytest.mark.parametrize("name", ["sinusoid", "omniglot-5way"])
@FUZZ
@given(st.data())
def test_rows_of_anything_are_rows_or_an_error_of_ours(name: str, data: st.DataObject) -> None:
    rows, schema = rows_of(name), schema_of(name)
    place = data.draw(st.sampled_from([place for place in places(rows) if place]))
    rows = replaced(rows, place, data.draw(ANYTHING))
    held(lambda: support_rows(SupportRows.model_construct(**rows), schema), 8 * MIB)
    held(
        lambda: validation_query(
            ValidationRows.model_construct(**rows), schema, ["a", "b"] if "omni" in name else None
        ),
        8 * MIB,
    )
    held(lambda: query_inputs(rows["inputs"], schema), 8 * MIB)


@FUZZ
@given(st.data())
def test_damaged_pictures_are_rows_or_an_error_of_ours(data: st.DataObject) -> None:
    inputs = [in_base64(mutated(data, drawing(0, n))) for n in range(2)]
    held(lambda: query_inputs(inputs, schema_of("omniglot-5way")), 8 * MIB)


@FUZZ
@given(st.data())
def test_a_job_of_anything_is_a_plan_or_an_error_of_ours(data: st.DataObject) -> None:
    place = data.draw(st.sampled_from([place for place in places(JOB) if place]))
    text = json.dumps(replaced(JOB, place, data.draw(ANYTHING))).encode("utf-8", "surrogatepass")
    request = held(lambda: parsed(text, MetaTrainRequest), 4 * MIB)
    if isinstance(request, MetaTrainRequest):
        held(lambda: planned_run(request, {}, LIMITS), 16 * MIB)


def table() -> dict[str, Any]:
    arrays = grouped_arrays(5, 4)
    return {"g": arrays["groups"].tolist(), "x": arrays["inputs"][:, 0].tolist(), "y": arrays["targets"].tolist()}


def parquet_of() -> bytes:
    file = io.BytesIO()
    parquet.write_table(pa.table(table()), file)
    return file.getvalue()


def tensors() -> bytes:
    arrays = grouped_arrays(5, 4)
    return save({"inputs": arrays["inputs"], "targets": arrays["targets"], "groups": np.arange(20) // 4})


OF_TABLE = {"name": "a", "kind": "grouped", "targets": "y", "group": "g"}
FILES: dict[str, tuple[bytes, dict[str, Any]]] = {
    "rows.csv": (csv_of(table()), OF_TABLE),
    "rows.parquet": (parquet_of(), OF_TABLE),
    "rows.npz": (npz_of(grouped_arrays(5, 4)), {"name": "a", "kind": "grouped"}),
    "classes.npz": (npz_of(labelled_arrays(5, 4)), {"name": "a", "kind": "labelled"}),
    "rows.safetensors": (tensors(), {"name": "a", "kind": "grouped"}),
    "pictures.zip": (
        zip_of({f"{c}/{n}.png": drawing(c, n) for c in range(4) for n in range(2)}), {"name": "a", "kind": "labelled"}
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", FILES)
@FUZZ
@given(st.data())
def test_a_damaged_file_is_a_data_set_or_an_error_of_ours(
    tmp_path_factory: pytest.TempPathFactory, name: str, data: st.DataObject
) -> None:
    whole, fields = FILES[name]
    path = tmp_path_factory.getbasetemp() / f"damaged-{name}"
    path.write_bytes(mutated(data, whole))
    spec = DatasetSpec.model_validate(fields)
    before = pa.default_memory_pool().bytes_allocated()
    found = held(lambda: read_dataset(spec, path, name, CAPS), 16 * MIB)
    assert isinstance(found, (Dataset, InnerloopError))
    assert pa.default_memory_pool().bytes_allocated() - before < 16 * MIB


@pytest.mark.parametrize("name", FILES)
@FUZZ
@given(st.data())
def test_a_file_under_another_description_is_a_data_set_or_an_error_of_ours(
    tmp_path_factory: pytest.TempPathFactory, name: str, data: st.DataObject
) -> None:
    whole, _ = FILES[name]
    path: Path = tmp_path_factory.getbasetemp() / f"whole-{name}"
    path.write_bytes(whole)
    columns = st.sampled_from(["x", "y", "g", "inputs", "targets", "groups", "no such", " "])
    fields = {
        "name": "a", "kind": data.draw(st.sampled_from(["grouped", "labelled"])),
        "inputs": data.draw(st.none() | columns | st.lists(columns, min_size=1, max_size=3)),
        "targets": data.draw(st.none() | columns), "group": data.draw(st.none() | columns),
        "order_by": data.draw(st.none() | columns),
        "output": data.draw(st.sampled_from([None, "regression", "classification"])),
    }  # fmt: skip
    spec = held(lambda: parsed(json.dumps(fields).encode(), DatasetSpec), 4 * MIB)
    if isinstance(spec, DatasetSpec):
        assert isinstance(held(lambda: read_dataset(spec, path, name, CAPS), 16 * MIB), (Dataset, InnerloopError))


@cache
def sinusoid() -> bytes:
    return read_model_files(REPOSITORY / "models" / "sinusoid.safetensors").packed()


@FUZZ
@given(st.data())
def test_a_damaged_model_is_a_model_or_an_error_of_ours(data: st.DataObject) -> None:
    held(lambda: uploaded_model(mutated(data, sinusoid()), "mine", LIMITS), 8 * MIB)


@FUZZ
@given(st.data())
def test_a_model_with_anything_on_its_card_is_a_model_or_an_error_of_ours(data: st.DataObject) -> None:
    whole = sinusoid()
    end = 8 + int.from_bytes(whole[:8], "little")
    header = json.loads(whole[8:end])
    card = json.loads(header["__metadata__"]["card"])
    place = data.draw(st.sampled_from([place for place in places(card) if place]))
    header["__metadata__"]["card"] = json.dumps(replaced(card, place, data.draw(ANYTHING)))
    text = json.dumps(header).encode("utf-8", "surrogatepass")
    file = len(text).to_bytes(8, "little") + text + whole[end:]
    held(lambda: uploaded_model(file, "mine", LIMITS), 8 * MIB)


@pytest.mark.parametrize("encoding", ["gzip", "deflate"])
@FUZZ
@given(st.data())
def test_damaged_compression_is_bytes_or_an_error_of_ours(encoding: str, data: st.DataObject) -> None:
    pack = gzip.compress if encoding == "gzip" else zlib.compress
    whole = pack(json.dumps(FULL_ADAPT).encode() * 20)
    assert isinstance(held(lambda: unpacked(mutated(data, whole), encoding, MIB), 4 * MIB), (bytes, InnerloopError))
