"""Claims about sentences as inputs: they are the numbers that the encoder makes of them, wherever they stand."""

from typing import Any

import httpx
import numpy as np
import pytest

from innerloop.wire import AdaptAnswer, PredictAnswer
from tests.api.asking import JSON, predict, problem_of
from tests.api.service import Service
from tests.api.test_api_weights import card_of, edited, send
from tests.api.text_models import text_model
from tests.text.encoder_at_hand import needs_encoder, sentences

pytestmark = needs_encoder

MODEL, VECTORS = "sentences", "sentence-vectors"
KNOWN = sentences()
SUPPORT: dict[str, Any] = {
    "inputs": [KNOWN.texts[i] for i in range(60) if i % 10 < 5],
    "targets": [KNOWN.intents[i] for i in range(60) if i % 10 < 5],
}
QUERIES = [i for i in range(60) if i % 10 >= 5]


@pytest.fixture(scope="module", autouse=True)
def models(service: Service) -> None:
    """Upload the models that these tests ask, and make them active."""
    for name, encoder in ((MODEL, "all-MiniLM-L6-v2"), (VECTORS, None)):
        assert send(service.http, name, text_model(encoder)).status_code == 201
        assert service.http.post(f"/models/{name}/promote", json={"version": 1}).status_code == 200


def adapted(http: httpx.Client, status: int = 201, **body: Any) -> AdaptAnswer:
    answer = http.post("/adapt", json={"model": MODEL, "support": SUPPORT, **body})
    assert answer.status_code == status, answer.text
    return AdaptAnswer.model_validate_json(answer.content)


def numbers(*rows: int) -> list[list[float]]:
    found: list[list[float]] = KNOWN.embeddings[list(rows)].tolist()
    return found


def test_the_model_says_that_it_takes_text(http: httpx.Client) -> None:
    (version,) = http.get(f"/models/{MODEL}").json()["versions"]
    assert version["input"] == {"kind": "text", "shape": [384], "encoder": "all-MiniLM-L6-v2"}


def test_sentences_are_adapted_on_and_predicted(http: httpx.Client, task_id: str) -> None:
    validation = {"inputs": [KNOWN.texts[i] for i in QUERIES], "targets": [KNOWN.intents[i] for i in QUERIES]}
    answer = adapted(http, task_id=task_id, validation=validation)
    assert answer.classes == list(dict.fromkeys(KNOWN.intents))
    found = predict(http, task_id=task_id, inputs=validation["inputs"])
    right = np.mean([a == b for a, b in zip(found.labels or [], validation["targets"], strict=True)])
    assert right > 0.75  # of six intents, two of them about the same calendar
    assert answer.validation is not None
    assert answer.validation.after.accuracy == pytest.approx(right)


def test_a_sentence_and_its_numbers_are_one(http: httpx.Client, task_id: str) -> None:
    adapted(http, task_id=task_id)
    texts = [KNOWN.texts[i] for i in QUERIES[:4]]
    as_text = probabilities(predict(http, task_id=task_id, inputs=texts))
    as_numbers = probabilities(predict(http, task_id=task_id, inputs=numbers(*QUERIES[:4])))
    mixed = probabilities(predict(http, task_id=task_id, inputs=[texts[0], *numbers(*QUERIES[1:3]), texts[3]]))
    assert np.allclose(as_text, as_numbers, atol=2e-3)
    assert np.allclose(mixed, [as_text[0], *as_numbers[1:3], as_text[3]], atol=1e-5)


def test_a_row_does_not_depend_on_its_neighbours(http: httpx.Client, task_id: str) -> None:
    adapted(http, task_id=task_id)
    new = ["is somebody there", f"{KNOWN.texts[0]} " * 20, "where did the number of calories go"]
    together = probabilities(predict(http, task_id=task_id, inputs=new))
    for text, row in zip(new, together, strict=True):
        assert np.allclose(probabilities(predict(http, task_id=task_id, inputs=[text]))[0], row, atol=1e-5)


def test_stateless_and_append_take_sentences(http: httpx.Client, task_id: str) -> None:
    adapted(http, task_id=task_id)
    stateless = predict(http, model=MODEL, support=SUPPORT, inputs=["eat", "money"])
    assert stateless.labels == predict(http, task_id=task_id, inputs=["eat", "money"]).labels
    more = {"inputs": ["hi there", "good morning", *numbers(0)], "targets": ["greeting", "greeting", KNOWN.intents[0]]}
    assert adapted(http, task_id=task_id, support=more, append=True).support_size == 33
    assert predict(http, task_id=task_id, inputs=["good morning to you"]).labels == ["greeting"]


def test_the_same_sentences_again_are_the_same_revision(http: httpx.Client, task_id: str) -> None:
    assert adapted(http, task_id=task_id).revision == adapted(http, 200, task_id=task_id).revision == 1


ZERO_ROW = [0.0] * 384
BAD: dict[str, tuple[Any, int, str, str]] = {
    "empty": (["yes", ""], 422, "invalid-text", r"inputs[1] is empty"),
    "blank": (["\n \t", "yes"], 422, "invalid-text", r"inputs[0] is empty"),
    "no words": (["\u200b\u200b"], 422, "invalid-text", r"inputs[0] has no words"),
    "too long": (["a" * 2001], 413, "text-too-long", r"inputs[0] has 2001 characters; at most 2000 (max_text_chars"),
    "null among sentences": (["yes", None], 422, "invalid-request", r"inputs[1] is not 384 numbers"),
    "number among sentences": (
        ["yes", 3],
        422,
        "shape-mismatch",
        r"inputs[1] has a bare number; sentences@1 takes 384",
    ),
    "list of sentences": ([["yes"]], 422, "invalid-request", r"inputs[0] is not 384 numbers"),
    "object": ([{"text": "yes"}], 422, "invalid-request", r"inputs[0] is not 384 numbers"),
    "too few numbers": (["yes", ZERO_ROW[1:]], 422, "shape-mismatch", r"inputs[1] has 383 numbers"),
    "boolean": ([True], 422, "invalid-request", r"inputs[0] is not 384 numbers"),
    "one string": ("yes", 422, "invalid-request", r"inputs is not a list"),
}


@pytest.mark.parametrize("name", BAD)
@pytest.mark.usefixtures("nothing_changes")
def test_bad_rows_are_refused_by_name(http: httpx.Client, name: str) -> None:
    rows, status, code, detail = BAD[name]
    targets = ["a", "b"][: len(rows)] if isinstance(rows, list) else ["a"]
    validation = {"inputs": rows, "targets": targets}
    stateless = {"model": MODEL, "support": SUPPORT, "inputs": rows}
    for where, path, body in (
        ("support.", "/adapt", {"model": MODEL, "support": validation}),
        ("validation.", "/adapt", {"model": MODEL, "support": SUPPORT, "validation": validation}),
        ("", "/predict", stateless),
    ):
        assert where + detail in problem_of(http.post(path, json=body), status, code).detail


def test_half_of_a_character_is_no_text(http: httpx.Client) -> None:
    body = b'{"model": "sentences", "support": {"inputs": ["\\ud800", "b"], "targets": ["a", "b"]}}'
    problem_of(http.post("/adapt", content=body, headers=JSON), 400, "not-json")


@pytest.mark.parametrize(("model", "detail"), [("sinusoid", "takes 1 number"), (VECTORS, "takes 384 numbers")])
def test_a_model_without_text_takes_no_sentences(http: httpx.Client, model: str, detail: str) -> None:
    support = {"inputs": ["yes", "no"], "targets": [1.0, 2.0] if model == "sinusoid" else ["a", "b"]}
    answer = http.post("/adapt", json={"model": model, "support": support})
    problem = problem_of(answer, 422, "invalid-request")
    assert f"support.inputs[0] is a string; {model}@1 {detail} a row, and no sentences" in problem.detail


@pytest.mark.parametrize(
    "changes", [{"encoder": None}, {"kind": "vector", "encoder": None}, {"kind": "vector"}, {"encoder": "other"}]
)
def test_an_upload_whose_card_and_network_differ_in_the_encoder_is_refused(
    http: httpx.Client, changes: dict[str, Any]
) -> None:
    file = text_model()
    answer = send(http, "sentences-elsewhere", edited(file, input={**card_of(file)["input"], **changes}))
    assert "input.encoder" in problem_of(answer, 422, "invalid-weights").detail


def probabilities(answer: PredictAnswer) -> list[list[float]]:
    assert answer.probabilities is not None
    return answer.probabilities
