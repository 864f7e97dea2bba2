"""Claims about the wire models."""

from datetime import datetime
from typing import Any

import pytest
from pydantic import BaseModel, ValidationError

from innerloop import wire
from tests.innerloop.answers import DATASET as DATASET_INFO
from tests.innerloop.answers import FAILED, JOB, SUCCEEDED

SUPPORT = {"inputs": [[-1.2], [0.4]], "targets": [0.31, -0.8]}
TIMING = {"queue": 0.4, "compute": 2.1, "total": 3.0}
META_TRAIN: dict[str, Any] = {
    "name": "sinusoid",
    "learner": {"kind": "maml", "steps": 1, "learning_rate": 0.01},
    "network": {"kind": "mlp", "hidden": [40, 40]},
    "tasks": {"kind": "sinusoid", "shots": 10, "queries": 10},
}
LABELLED = {"kind": "labelled", "dataset": "omniglot"}
GROUPED = {"kind": "grouped", "dataset": "assays"}
PREDICTION = {"task_id": None, "revision": None, "model": "m", "model_version": 1, "timing_ms": TIMING}

Place = tuple[str | int, ...]
ADAPT: dict[str, tuple[dict[str, Any], Place]] = {
    "unknown field": ({"step": 5}, ("step",)),
    "unknown nested field": ({"support": {**SUPPORT, "x": 1}}, ("support", "x")),
    "no targets": ({"support": {"inputs": []}}, ("support", "targets")),
    "boolean steps": ({"steps": True}, ("steps",)),
    "steps as text": ({"steps": "5"}, ("steps",)),
    "fractional steps": ({"steps": 5.0}, ("steps",)),
    "negative steps": ({"steps": -1}, ("steps",)),
    "rate of zero": ({"learning_rate": 0}, ("learning_rate",)),
    "boolean rate": ({"learning_rate": True}, ("learning_rate",)),
    "infinite rate": ({"learning_rate_scale": 1e999}, ("learning_rate_scale",)),
    "newline after id": ({"task_id": "a\n"}, ("task_id",)),
    "id too long": ({"task_id": "a" * 65}, ("task_id",)),
    "empty id": ({"task_id": ""}, ("task_id",)),
    "version that is no number": ({"model": "m@one"}, ("model",)),
    "integer for append": ({"append": 1}, ("append",)),
    "ttl of zero": ({"ttl_seconds": 0}, ("ttl_seconds",)),
    "ttl past any date": ({"ttl_seconds": 10**18}, ("ttl_seconds",)),
    "unknown choice": ({"on_divergence": "go on"}, ("on_divergence",)),
    "integer for estimate": ({"estimate": 1}, ("estimate",)),
    "null for estimate": ({"estimate": None}, ("estimate",)),
    "abstaining in adapt": ({"abstain_below": 0.5}, ("abstain_below",)),
}
PREDICT: dict[str, tuple[dict[str, Any], Place]] = {
    "neither task nor support": ({}, ()),
    "task beside support": ({"task_id": "a", "support": SUPPORT}, ()),
    "task beside steps": ({"task_id": "a", "steps": 1}, ()),
    "task beside model": ({"task_id": "a", "model": "m"}, ()),
    "revision without task": ({"support": SUPPORT, "revision": 1}, ()),
    "append in predict": ({"support": SUPPORT, "append": True}, ("append",)),
    "ttl in predict": ({"support": SUPPORT, "ttl_seconds": 9}, ("ttl_seconds",)),
    "estimate in predict": ({"support": SUPPORT, "estimate": False}, ("estimate",)),
    "abstaining below nothing": ({"task_id": "a", "abstain_below": -0.1}, ("abstain_below",)),
    "abstaining above all": ({"support": SUPPORT, "abstain_below": 1.1}, ("abstain_below",)),
    "abstaining below text": ({"task_id": "a", "abstain_below": "0.5"}, ("abstain_below",)),
    "abstaining below nan": ({"task_id": "a", "abstain_below": float("nan")}, ("abstain_below",)),
}
META: dict[str, tuple[dict[str, Any], Place]] = {
    "no learner kind": ({"learner": {}}, ("learner", "kind")),
    "no tasks kind": ({"tasks": {}}, ("tasks", "built-in", "kind")),
    "tasks that are no object": ({"tasks": 3}, ("tasks", "built-in")),
    "data set of a built-in": (
        {"tasks": {"kind": "sinusoid", "dataset": "x"}},
        ("tasks", "built-in", "dataset"),
    ),
    "labelled without data set": ({"tasks": {"kind": "labelled"}}, ("tasks", "labelled", "dataset")),
    "range the wrong way round": ({"tasks": {**LABELLED, "shots": [5, 1]}}, ("tasks", "labelled", "shots")),
    "training ways the wrong way round": (
        {"tasks": {**LABELLED, "training_ways": [20, 5]}},
        ("tasks", "labelled", "training_ways"),
    ),
    "noise in all labels": ({"tasks": {**LABELLED, "label_noise": 1.0}}, ("tasks", "labelled", "label_noise")),
    "noise of grouped tasks": ({"tasks": {**GROUPED, "label_noise": 0.1}}, ("tasks", "grouped", "label_noise")),
    "negative noise": (
        {"tasks": {**LABELLED, "evaluation_label_noise": -0.1}},
        ("tasks", "labelled", "evaluation_label_noise"),
    ),
    "range of zero": ({"tasks": {**GROUPED, "shots": 0}}, ("tasks", "grouped", "shots", "constrained-int")),
    "grouped range the wrong way round": ({"tasks": {**GROUPED, "shots": [9, 2]}}, ("tasks", "grouped", "shots")),
    "grouped without data set": ({"tasks": {"kind": "grouped"}}, ("tasks", "grouped", "dataset")),
    "grouped with ways": ({"tasks": {**GROUPED, "ways": 5}}, ("tasks", "grouped", "ways")),
    "unknown order": ({"tasks": {**GROUPED, "order": "last"}}, ("tasks", "grouped", "order")),
    "scaling as text": ({"tasks": {**LABELLED, "scaling": "yes"}}, ("tasks", "labelled", "scaling")),
    "unknown optimizer": ({"optimizer": "lion"}, ("optimizer",)),
    "no iterations": ({"iterations": 0}, ("iterations",)),
    "unknown field": ({"epochs": 3}, ("epochs",)),
}
PROMOTE: dict[str, tuple[dict[str, Any], Place]] = {
    "no version": ({}, ("version",)),
    "version as text": ({"version": "3"}, ("version",)),
}
DATASET: dict[str, tuple[dict[str, Any], Place]] = {
    "no kind": ({"kind": None}, ("kind",)),
    "unknown kind": ({"kind": "stream"}, ("kind",)),
    "name as a path": ({"name": "../a"}, ("name",)),
    "unknown field": ({"columns": []}, ("columns",)),
    "no inputs at all": ({"inputs": []}, ("inputs", "list[constrained-str]")),
    "empty column": ({"group": ""}, ("group",)),
    "column that is no text": ({"targets": 3}, ("targets", "constrained-str")),
    "picture too small": ({"picture_size": 7}, ("picture_size",)),
    "picture too large": ({"picture_size": 257}, ("picture_size",)),
    "picture size as text": ({"picture_size": "28"}, ("picture_size",)),
    "unknown output": ({"output": "ranking"}, ("output",)),
    "regression of classes": ({"kind": "labelled", "output": "regression"}, ()),
    "groups split by class": ({"split": {"by": "class"}}, ()),
    "two fractions": ({"split": {"fractions": [0.5, 0.5]}}, ("split", "fractions")),
    "fraction of nothing": ({"split": {"fractions": [0.5, 0.5, 0]}}, ("split", "fractions", 2)),
    "fractions of more": ({"split": {"fractions": [0.5, 0.5, 0.5]}}, ("split",)),
    "fraction that is no number": ({"split": {"fractions": [0.5, 0.4, float("nan")]}}, ("split", "fractions", 2)),
    "negative seed": ({"split": {"seed": -1}}, ("split", "seed")),
    "boolean seed": ({"split": {"seed": True}}, ("split", "seed")),
}
REFUSED = [
    pytest.param(model, {**valid, **body}, place, id=f"{model.__name__}: {name}")
    for model, valid, table in (
        (wire.AdaptRequest, {"support": SUPPORT}, ADAPT),
        (wire.PredictRequest, {"inputs": []}, PREDICT),
        (wire.MetaTrainRequest, META_TRAIN, META),
        (wire.PromoteRequest, {}, PROMOTE),
        (wire.DatasetSpec, {"name": "assays", "kind": "grouped"}, DATASET),
    )
    for name, (body, place) in table.items()
]


@pytest.mark.parametrize(("model", "body", "place"), REFUSED)
def test_request_is_refused_at_the_field(model: type[BaseModel], body: dict[str, Any], place: Place) -> None:
    with pytest.raises(ValidationError) as caught:
        model.model_validate(body)
    assert place in [error["loc"] for error in caught.value.errors()]


def test_only_support_is_required_to_adapt() -> None:
    request = wire.AdaptRequest.model_validate({"support": SUPPORT})
    assert request.model_fields_set == {"support"}
    assert (request.append, request.on_divergence, request.steps) == (False, "error", None)


def test_ttl_of_null_is_told_from_an_absent_one() -> None:
    request = wire.AdaptRequest.model_validate({"support": SUPPORT, "ttl_seconds": None})
    assert request.ttl_seconds is None
    assert "ttl_seconds" in request.model_fields_set


def test_integer_is_taken_as_a_rate() -> None:
    request = wire.AdaptRequest.model_validate({"support": SUPPORT, "learning_rate": 1})
    assert request.learning_rate == 1.0


@pytest.mark.parametrize("model", ["sinusoid", "sinusoid@12", "A_b-9", "x" * 64])
def test_model_is_a_name_or_a_name_at_a_version(model: str) -> None:
    assert wire.AdaptRequest.model_validate({"support": SUPPORT, "model": model}).model == model


def test_rows_pass_unchanged_whatever_they_are() -> None:
    rows = {"inputs": "not rows", "targets": {"a": None}}
    request = wire.AdaptRequest.model_validate({"support": rows})
    assert request.support.model_dump() == rows


@pytest.mark.parametrize("name", ["inputs", "targets"])
def test_rows_are_described_in_the_schema(name: str) -> None:
    schema = wire.SupportRows.model_json_schema()["properties"][name]
    assert schema["type"] == "array"
    assert "a row" in schema["description"]


@pytest.mark.parametrize("form", [{"task_id": "a"}, {"support": SUPPORT}])
@pytest.mark.parametrize("bound", [None, 0, 0.5, 1])
def test_both_forms_of_predicting_may_abstain(form: dict[str, Any], bound: float | None) -> None:
    assert wire.PredictRequest.model_validate({"inputs": [], **form, "abstain_below": bound}).abstain_below == bound


def test_null_beside_a_task_counts_as_absent() -> None:
    request = wire.PredictRequest.model_validate({"inputs": [], "task_id": "a", "steps": None, "model": None})
    assert request.task_id == "a"


def test_stateless_prediction_takes_the_settings_of_adapt() -> None:
    settings = {"steps": 0, "learning_rate": 0.1, "learning_rate_scale": 2.0, "on_divergence": "best"}
    request = wire.PredictRequest.model_validate({"inputs": [], "support": SUPPORT, "model": "m", **settings})
    assert request.model_dump(include=set(settings)) == settings


def test_meta_training_has_the_defaults_of_the_contract() -> None:
    request = wire.MetaTrainRequest.model_validate(META_TRAIN)
    assert request.model_dump(exclude=set(META_TRAIN)) == {
        "loss": None,
        "iterations": 20_000,
        "meta_batch_size": 25,
        "optimizer": "adam",
        "meta_learning_rate": 0.001,
        "learning_rate_schedule": "cosine",
        "clip_norm": 10.0,
        "validate_every": 500,
        "patience": None,
        "compile": "auto",
        "seed": 0,
        "promote": "if_better",
    }


def test_options_of_learner_and_network_are_kept_for_the_service_to_judge() -> None:
    request = wire.MetaTrainRequest.model_validate(META_TRAIN)
    assert request.learner.model_dump() == META_TRAIN["learner"]
    assert request.network.model_dump() == META_TRAIN["network"]


@pytest.mark.parametrize("shots", [1, [1, 5], [3, 3]])
def test_shots_of_labelled_tasks_are_a_number_or_a_range(shots: int | list[int]) -> None:
    request = wire.MetaTrainRequest.model_validate({**META_TRAIN, "tasks": {**LABELLED, "shots": shots}})
    assert isinstance(request.tasks, wire.LabelledTasks)
    assert (request.tasks.shots, request.tasks.rotations) == (shots, False)


@pytest.mark.parametrize("shots", [1, [1, 5]])
def test_grouped_tasks_have_shots_and_an_order(shots: int | list[int]) -> None:
    request = wire.MetaTrainRequest.model_validate({**META_TRAIN, "tasks": {**GROUPED, "shots": shots}})
    assert request.tasks.model_dump() == {
        "kind": "grouped",
        "dataset": "assays",
        "shots": shots,
        "queries": 10,
        "order": "random",
        "scaling": True,
    }


def test_spec_of_a_data_set_needs_a_name_and_a_kind_alone() -> None:
    spec = wire.DatasetSpec.model_validate_json('{"name": "omniglot", "kind": "labelled"}')
    assert spec.model_dump() == {
        "name": "omniglot",
        "kind": "labelled",
        "inputs": None,
        "targets": None,
        "group": None,
        "order_by": None,
        "output": None,
        "picture_size": 28,
        "split": {"by": None, "fractions": [0.7, 0.15, 0.15], "seed": 0},
    }


def test_specs_do_not_share_their_fractions() -> None:
    first, second = wire.SplitSpec(), wire.SplitSpec()
    first.fractions.append(0.0)
    assert second.fractions == [0.7, 0.15, 0.15]


@pytest.mark.parametrize("job", [JOB, SUCCEEDED, FAILED], ids=lambda job: job["status"])
def test_job_is_written_as_it_came(job: dict[str, Any]) -> None:
    assert wire.JobInfo.model_validate(job).model_dump(mode="json") == job


def test_data_set_is_written_as_it_came() -> None:
    assert wire.DatasetInfo.model_validate(DATASET_INFO).model_dump(mode="json") == DATASET_INFO


MOMENTS = ["2026-11-21T10:00:00Z", "2026-11-21T12:00:00+02:00", "2026-11-21T10:00:00.75Z"]


@pytest.mark.parametrize("text", MOMENTS)
def test_moment_is_written_in_utc_and_stays_a_moment_in_python(text: str) -> None:
    moment = datetime.fromisoformat(text)
    found = wire.RevisionInfo(
        task_id="a",
        revision=1,
        model="m",
        model_version=1,
        steps=5,
        kept_step=5,
        support_size=2,
        classes=None,
        bytes=10,
        created_at=moment,
    )
    assert found.model_dump(mode="json")["created_at"] == "2026-11-21T10:00:00Z"
    assert found.model_dump()["created_at"] == moment


def test_regression_answer_has_outputs_and_no_field_of_classification() -> None:
    answer = wire.PredictAnswer.model_validate({**PREDICTION, "outputs": [[0.12], [0.95]]})
    assert answer.model_dump(mode="json") == {**PREDICTION, "outputs": [[0.12], [0.95]]}


@pytest.mark.parametrize("classes", [[3, 1], ["3", "1"]])
def test_classification_answer_keeps_the_type_of_its_labels(classes: list[str | int]) -> None:
    fields = {"labels": classes, "probabilities": [[0.9, 0.1], [0.2, 0.8]], "classes": classes}
    answer = wire.PredictAnswer.model_validate({**PREDICTION, **fields})
    assert answer.model_dump(mode="json") == {**PREDICTION, **fields}


def test_label_may_be_left_out() -> None:
    fields = {"labels": [None, "b"], "probabilities": [[0.6, 0.4], [0.2, 0.8]], "classes": ["a", "b"]}
    assert wire.PredictAnswer.model_validate({**PREDICTION, **fields}).model_dump(mode="json") == {
        **PREDICTION, **fields
    }  # fmt: skip


@pytest.mark.parametrize("worth", [{"accuracy": 0.92}, {"error": 1.5}])
def test_estimate_is_of_accuracy_or_of_error(worth: dict[str, float]) -> None:
    found = {"method": "k_fold", "folds": 5, "rows": 25, **worth, "loss": 0.31}
    assert wire.Estimate.model_validate(found).model_dump(mode="json") == found


def test_accuracy_is_left_out_for_regression() -> None:
    scores = {"before": {"loss": 2.1}, "after": {"loss": 0.2}}
    assert wire.Validation.model_validate(scores).model_dump() == scores


def test_answers_ignore_fields_of_a_later_release() -> None:
    assert wire.TimingMs.model_validate({**TIMING, "network": 9.0}).model_dump() == TIMING


def test_limits_keep_caps_of_a_later_release() -> None:
    limits = wire.Limits.model_validate({"max_steps": 50, "max_models": 7})
    assert (limits.max_steps, limits.max_classes, limits.model_dump()["max_models"]) == (50, 100, 7)


def test_page_holds_its_items_as_models() -> None:
    page = wire.Page[wire.TimingMs].model_validate({"data": [TIMING], "has_more": False, "next": None})
    assert isinstance(page.data[0], wire.TimingMs)
