"""Claims about `infer` bodies as functions: what is read of them, what is refused, and what that may cost."""

import gzip
import json
import tracemalloc
import zlib
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.api.compression import unpacked
from app.api.inference_protocol.answers import infer_answer
from app.api.inference_protocol.datatypes import bytes_of_texts
from app.api.inference_protocol.requests import InferRequest, infer_request
from app.api.inference_protocol.statistics import MAX_REVISIONS, MAX_TENANTS, Durations, Statistics
from app.api.predicting import Predicted
from app.engine.engine import TaskKey
from innerloop.errors import BadRequest, BodyTooLarge, InnerloopError, InvalidRequest, NotFinite, NotJson, TooManyRows
from innerloop.wire import Limits

LIMITS = Limits()
RAW = np.array([[0.5], [1.5]], dtype=np.float32).tobytes()


def tensor(**fields: Any) -> dict[str, Any]:
    return {"name": "inputs", "shape": [2, 1], "datatype": "FP32", **fields}


def raw(size: int = 8, **fields: Any) -> dict[str, Any]:
    return tensor(parameters={"binary_data_size": size}, **fields)


def body_of(*inputs: Any, tail: bytes = b"", **fields: Any) -> tuple[bytes, str | None]:
    """Return a body and its header length."""
    text = json.dumps({"inputs": list(inputs), **fields}).encode()
    return text + tail, str(len(text)) if tail else None


def read(body: bytes, header_length: str | None = None) -> InferRequest | InnerloopError:
    try:
        return infer_request(body, header_length, LIMITS)
    except InnerloopError as error:
        return error


def rows_of(*inputs: Any, tail: bytes = b"") -> Any:
    body, header_length = body_of(*inputs, tail=tail)
    return infer_request(body, header_length, LIMITS).rows


def test_raw_numbers_are_a_view_of_the_body() -> None:
    text = json.dumps({"inputs": [raw()]}).encode()
    body = bytearray(text + RAW)
    rows = infer_request(body, str(len(text)), LIMITS).rows
    assert isinstance(rows, np.ndarray)
    assert rows.tolist() == [[0.5], [1.5]]
    assert np.shares_memory(rows, np.frombuffer(body, dtype=np.uint8))


@pytest.mark.parametrize("data", [[0.5, 1.5], [[0.5], [1.5]]])
def test_numbers_of_json_are_flat_or_nested(data: Any) -> None:
    assert rows_of(tensor(data=data)).tolist() == [[0.5], [1.5]]


def test_small_whole_numbers_of_json_keep_their_type() -> None:
    assert rows_of(tensor(datatype="UINT8", data=[0, 255])).dtype == np.uint8


@given(st.lists(st.text(), max_size=5))
def test_texts_arrive_as_they_are_in_both_forms(texts: list[str]) -> None:
    shape = [len(texts)]
    data = bytes_of_texts(texts)
    body, header_length = body_of(raw(len(data), datatype="BYTES", shape=shape), tail=data)
    assert infer_request(body, header_length, LIMITS).rows == texts
    assert rows_of(tensor(datatype="BYTES", shape=shape, data=texts)) == texts
    assert rows_of(tensor(datatype="BYTES", shape=[*shape, 1], data=[[text] for text in texts])) == texts


def test_request_says_which_outputs_it_wants() -> None:
    outputs = [{"name": "a"}, {"name": "b", "parameters": {"binary_data": False}}]
    body, _ = body_of(
        tensor(data=[1, 2]), id="7", outputs=outputs, parameters={"binary_data_output": True, "priority": 3}
    )
    request = infer_request(body, None, LIMITS)
    assert request.id == "7"
    assert [tuple(output) for output in request.outputs] == [("a", True), ("b", False)]


def test_hints_for_other_servers_are_left_alone() -> None:
    hints = {"content_type": "np"}
    body, _ = body_of(tensor(data=[1, 2], parameters=hints), parameters=hints)
    assert infer_request(body, None, LIMITS).is_binary is False


TEXTS = bytes_of_texts(["ab", "c"])
REFUSED: dict[str, tuple[tuple[bytes, str | None], type[InnerloopError], str]] = {
    "no JSON": ((b"{]", None), NotJson, "the body is not JSON"),
    "NaN": ((b'{"inputs": NaN}', None), NotFinite, "NaN"),
    "a list": ((b"[]", None), InvalidRequest, "an object is expected"),
    "nothing": ((b"", None), NotJson, "not JSON"),
    "no inputs": ((b"{}", None), InvalidRequest, "inputs"),
    "an unknown field": (body_of(tensor(data=[1, 2]), owner="me"), InvalidRequest, "owner"),
    "an unknown field of a tensor": (body_of(tensor(data=[1, 2], url="http://a")), InvalidRequest, "url"),
    "a header length that is no number": ((b"{}", "x"), BadRequest, "is no number"),
    "a negative header length": ((b"{}", "-1"), BadRequest, "is no number"),
    "an endless header length": ((b"{}", "9" * 5000), BadRequest, "is no number"),
    "a header length past the body": ((b"{}", "3"), BadRequest, "is 3; the body has 2 bytes"),
    "a header length inside the JSON": ((body_of(raw(), tail=RAW)[0], "10"), NotJson, "not JSON"),
    "a header length of nothing": ((body_of(raw(), tail=RAW)[0], "0"), NotJson, "not JSON"),
    "no header length": ((body_of(raw(), tail=RAW)[0], None), NotJson, "not JSON"),
    "no input": (body_of(), BadRequest, "the inputs are none; exactly one is taken, named 'inputs'"),
    "another input": (body_of({**tensor(data=[1, 2]), "name": "x"}), BadRequest, "the inputs are x"),
    "two inputs": (body_of(raw(4), raw(4), tail=RAW), BadRequest, "the inputs are inputs, inputs"),
    "a truncated tail": (body_of(raw(), tail=RAW[:7]), BadRequest, "adds up to 8 bytes; 7 follow"),
    "a longer tail": (body_of(raw(), tail=RAW + b"x"), BadRequest, "adds up to 8 bytes; 9 follow"),
    "a tail of nobody": (body_of(tensor(data=[1, 2]), tail=RAW), BadRequest, "adds up to 0 bytes; 8 follow"),
    "a size without a tail": (body_of(raw()), BadRequest, "adds up to 8 bytes; 0 follow"),
    "a negative size": (body_of(raw(-8), tail=RAW), InvalidRequest, "binary_data_size"),
    "a shape of more": (body_of(raw(shape=[3, 1]), tail=RAW), BadRequest, "take 12 bytes; 8 came"),
    "a type of more": (body_of(raw(datatype="FP64"), tail=RAW), BadRequest, "take 16 bytes; 8 came"),
    "a negative axis": (body_of(raw(shape=[-1, -2]), tail=RAW), BadRequest, "no size is negative"),
    "no axis": (body_of(raw(4, shape=[]), tail=RAW[:4]), InvalidRequest, "shape"),
    "many axes": (body_of(raw(4, shape=[1] * 17), tail=RAW[:4]), InvalidRequest, "shape"),
    "a fractional axis": (body_of(raw(shape=[2.0, 1]), tail=RAW), InvalidRequest, "shape"),
    "sizes that come round in 64 bits": (body_of(raw(shape=[2, 2**62 + 1]), tail=RAW), BadRequest, "larger than any"),
    "a huge axis of nothing": (body_of(raw(0, shape=[0, 2**63])), BadRequest, "larger than any"),
    "many rows of nothing": (body_of(raw(0, shape=[10_001, 0])), TooManyRows, "10001 rows; at most 10000"),
    "an unknown type": (body_of(raw(datatype="FP8"), tail=RAW), BadRequest, "datatype 'FP8' is not taken"),
    "booleans": (body_of(tensor(datatype="BOOL", data=[True, False])), BadRequest, "'BOOL' is not taken"),
    "data in two ways": (body_of(raw(data=[1, 2]), tail=RAW), BadRequest, "one of the two ways"),
    "no data": (body_of(tensor()), BadRequest, "neither data nor"),
    "FP16 in JSON": (body_of(tensor(datatype="FP16", data=[1, 2])), BadRequest, "FP16 has no JSON form"),
    "data of another shape": (body_of(tensor(data=[1, 2, 3])), InvalidRequest, "are not 2 numbers"),
    "data nested otherwise": (body_of(tensor(data=[[1, 2]])), InvalidRequest, "are not 2 numbers"),
    "booleans for numbers": (body_of(tensor(data=[True, 2])), InvalidRequest, "are not 2 numbers"),
    "strings for numbers": (body_of(tensor(data=["1", "2"])), InvalidRequest, "are not 2 numbers"),
    "a number too large": (body_of(tensor(data=[1, 1e39])), NotFinite, r"inputs\[1\] is not finite"),
    "fractions for INT32": (body_of(tensor(datatype="INT32", data=[1, 1.5])), InvalidRequest, "not all INT32"),
    "256 for UINT8": (body_of(tensor(datatype="UINT8", data=[1, 256])), InvalidRequest, "not all UINT8"),
    "numbers for BYTES": (body_of(tensor(datatype="BYTES", shape=[2], data=[1, 2])), InvalidRequest, "not 2 strings"),
    "several texts a row": (
        body_of(raw(len(TEXTS), datatype="BYTES", shape=[1, 2]), tail=TEXTS),
        BadRequest,
        "one element a row",
    ),
    "texts that end early": (
        body_of(raw(len(TEXTS), datatype="BYTES", shape=[3]), tail=TEXTS),
        BadRequest,
        "element 2 of inputs would end",
    ),
    "texts that go on": (
        body_of(raw(len(TEXTS), datatype="BYTES", shape=[1]), tail=TEXTS),
        BadRequest,
        "5 bytes follow the 1 elements",
    ),
    "a text that is longer than all": (
        body_of(raw(5, datatype="BYTES", shape=[1]), tail=b"\xff\xff\xff\xffa"),
        BadRequest,
        "element 0 of inputs would end at byte 4294967299 of 5",
    ),
    "shared memory": (
        body_of(tensor(parameters={"shared_memory_region": "a", "shared_memory_byte_size": 8})),
        BadRequest,
        "no shared memory",
    ),
    "classification": (
        body_of(tensor(data=[1, 2]), outputs=[{"name": "outputs", "parameters": {"classification": 2}}]),
        BadRequest,
        "classification is not taken",
    ),
    "a wrong threshold": (body_of(tensor(data=[1, 2]), parameters={"abstain_below": 2}), InvalidRequest, "abstain"),
}


@pytest.mark.parametrize(("body", "kind", "detail"), REFUSED.values(), ids=REFUSED)
def test_wrong_body_is_refused_with_what_is_wrong(
    body: tuple[bytes, str | None], kind: type[InnerloopError], detail: str
) -> None:
    with pytest.raises(kind, match=detail):
        infer_request(*body, LIMITS)


VALID = [
    body_of(raw(), tail=RAW),
    body_of(tensor(data=[[0.5], [1.5]])),
    body_of(raw(len(TEXTS), datatype="BYTES", shape=[2]), tail=TEXTS),
]


@given(st.data())
def test_mutated_body_is_a_request_or_an_error_of_ours(data: st.DataObject) -> None:
    valid, header_length = data.draw(st.sampled_from(VALID))
    at = data.draw(st.integers(0, len(valid)))
    mutated = valid[:at] + data.draw(st.binary(max_size=4)) + valid[at + data.draw(st.integers(0, 4)) :]
    lie = data.draw(st.one_of(st.just(header_length), st.integers(-5, 200).map(str), st.text(max_size=5)))
    assert isinstance(read(mutated, lie), InferRequest | InnerloopError)


@given(
    st.recursive(
        st.none()
        | st.booleans()
        | st.integers()
        | st.floats(allow_nan=False, allow_infinity=False)
        | st.text(max_size=8),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
        max_leaves=8,
    ),
    st.sampled_from(["data", "shape", "datatype", "parameters", "name"]),
    st.binary(max_size=16),
)
def test_any_field_is_a_request_or_an_error_of_ours(value: Any, field: str, tail: bytes) -> None:
    for valid in (tensor(data=[1, 2]), raw(len(tail))):
        body, header_length = body_of({**valid, field: value}, tail=tail)
        assert isinstance(read(body, header_length), InferRequest | InnerloopError)


@given(st.binary(max_size=100), st.one_of(st.none(), st.text(max_size=4)))
def test_arbitrary_bytes_are_an_error_of_ours(body: bytes, header_length: str | None) -> None:
    assert isinstance(read(body, header_length), InnerloopError)


@pytest.mark.parametrize("datatype", ["FP64", "UINT8", "BYTES"])
@pytest.mark.parametrize("shape", [[10_000, 2**50], [2**62], [1, 2**62], [0, 2**62], [2**32, 2**32]])
@pytest.mark.parametrize("size", [0, 8, 2**62])
def test_declared_sizes_cost_nothing_before_they_are_checked(datatype: str, shape: list[int], size: int) -> None:
    body, header_length = body_of(raw(size, datatype=datatype, shape=shape), tail=RAW)
    tracemalloc.start()
    try:
        assert isinstance(read(body, header_length), InnerloopError)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 100_000


PACK: dict[str, Callable[[bytes], bytes]] = {"gzip": gzip.compress, "deflate": zlib.compress}


@pytest.mark.parametrize("encoding", PACK)
@given(data=st.binary(max_size=2_000), times=st.integers(1, 200))
def test_compressed_bodies_are_unpacked(encoding: str, data: bytes, times: int) -> None:
    assert unpacked(PACK[encoding](data * times), encoding, 10**6) == data * times


@pytest.mark.parametrize("encoding", PACK)
def test_body_may_unpack_to_the_cap_and_no_further(encoding: str) -> None:
    assert len(unpacked(PACK[encoding](bytes(100_000)), encoding, 100_000)) == 100_000
    with pytest.raises(BodyTooLarge):
        unpacked(PACK[encoding](bytes(100_001)), encoding, 100_000)


@pytest.mark.parametrize("encoding", PACK)
def test_decompression_bomb_costs_less_than_the_cap(encoding: str) -> None:
    bomb = PACK[encoding](bytes(100_000_000))
    tracemalloc.start()
    try:
        with pytest.raises(BodyTooLarge):
            unpacked(bomb, encoding, 10_000_000)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 1_000_000


@pytest.mark.parametrize("encoding", PACK)
@pytest.mark.parametrize("wrong", ["cut", "more", "other", "none"])
def test_wrongly_compressed_body_is_refused(encoding: str, wrong: str) -> None:
    packed = PACK[encoding](b"some rows")
    other = PACK["gzip" if encoding == "deflate" else "deflate"](b"some rows")
    with pytest.raises(BadRequest):
        unpacked({"cut": packed[:-1], "more": packed + b"x", "other": other, "none": b""}[wrong], encoding, 1000)


def predicted(outputs: Any, classes: list[str] | list[int] | None = None, abstain_below: float = 0.0) -> Predicted:
    return Predicted("a", 3, "m", 1, classes, np.asarray(outputs, dtype=np.float32), abstain_below, 0.0, 0.0)


def asked(**fields: Any) -> InferRequest:
    return infer_request(body_of(tensor(data=[1, 2]), **fields)[0], None, LIMITS)


def test_answer_of_raw_tensors_says_where_they_lie() -> None:
    answer = infer_answer(
        predicted([[0.25, 0.75, 0.0]], ["ä", "b"], 0.8), asked(parameters={"binary_data_output": True})
    )
    assert answer.header_bytes is not None
    told, tail = json.loads(answer.data[: answer.header_bytes]), answer.data[answer.header_bytes :]
    probabilities, labels = told["outputs"]
    assert probabilities == {
        "name": "probabilities",
        "datatype": "FP32",
        "shape": [1, 2],
        "parameters": {"binary_data_size": 8},
    }
    assert labels == {"name": "labels", "datatype": "BYTES", "shape": [1], "parameters": {"binary_data_size": 4}}
    assert np.frombuffer(tail[:8], "<f4").tolist() == [0.25, 0.75]
    assert tail[8:] == bytes(4)  # left out


def test_answer_without_raw_tensors_is_json_alone() -> None:
    answer = infer_answer(predicted([[0.5, 1.0]]), asked(id="x"))
    assert answer.header_bytes is None
    assert json.loads(answer.data) == {
        "model_name": "a",
        "model_version": "3",
        "id": "x",
        "outputs": [{"name": "outputs", "datatype": "FP32", "shape": [1, 2], "data": [0.5, 1.0]}],
    }


def test_labels_of_whole_numbers_are_text() -> None:
    answer = infer_answer(predicted([[0.1, 0.9]], [7, 12]), asked(outputs=[{"name": "labels"}]))
    assert json.loads(answer.data)["outputs"][0]["data"] == ["12"]


def test_statistics_are_bounded() -> None:
    statistics = Statistics()
    for number in range(2 * MAX_REVISIONS):
        statistics.answered(TaskKey("default", f"t{number}", 1), 1, Durations(1, 0, 1))
        statistics.failed("default", f"unknown{number}", None, 1)
    assert len(statistics.of("default")) == MAX_REVISIONS
    assert TaskKey("default", f"t{2 * MAX_REVISIONS - 1}", 1) in statistics.of("default")


def test_a_tenant_of_many_tasks_drops_nothing_of_what_is_counted_of_another() -> None:
    statistics = Statistics()
    mine = TaskKey("mine", "t", 1)
    statistics.answered(mine, 3, Durations(1, 0, 1))
    for number in range(2 * MAX_REVISIONS):
        statistics.answered(TaskKey("greedy", f"t{number}", 1), 1, Durations(1, 0, 1))
    assert statistics.of("mine")[mine].num_rows == 3
    assert len(statistics.of("greedy")) == MAX_REVISIONS


def test_of_too_many_tenants_the_one_that_asked_last_longest_ago_is_dropped() -> None:
    statistics = Statistics()
    for number in range(MAX_TENANTS + 1):
        statistics.answered(TaskKey(f"tenant{number}", "t", 1), 1, Durations(1, 0, 1))
        statistics.answered(TaskKey("tenant0", "t", 1), 1, Durations(1, 0, 1))
    assert [number for number in range(MAX_TENANTS + 1) if not statistics.of(f"tenant{number}")] == [1]


def test_statistics_of_one_tenant_are_not_anothers() -> None:
    statistics = Statistics()
    statistics.answered(TaskKey("one", "t", 1), 1, Durations(1, 0, 1))
    statistics.failed("other", "t", 1, 1)
    assert statistics.of("other") == {}
    assert statistics.of("one")[TaskKey("one", "t", 1)].num_failures == 0
