"""`python -m app calibrate`: temperatures, metrics and references of a model from before there were such."""

from pathlib import Path
from typing import Any

import pytest
import torch
from typer.testing import CliRunner, Result

from app.__main__ import cli
from app.jobs.model_files import model_of, read_model_files, write_model
from app.jobs.plan import planned_run
from app.learners.calibration import TEMPERATURES, at
from app.learners.model import learner_of
from innerloop.wire import Limits, MetaTrainRequest
from tests.jobs.data_at_hand import EXCERPT, drawings

OMNIGLOT = {"kind": "labelled", "dataset": "omniglot", "ways": 2, "shots": 1, "queries": 2}
DATA = f"omniglot={EXCERPT}"


def old_model(folder: Path, tasks: dict[str, Any], **learner: Any) -> Path:
    """Write a model as it was before there were temperatures and references, and return its weights' path."""
    body = {"name": "old", "learner": learner, "network": {"kind": "mlp", "hidden": [4]}, "tasks": tasks}
    request = MetaTrainRequest.model_validate(body)
    provenance = {"request": request.model_dump(mode="json", exclude_none=True), "seed": 5}
    card = planned_run(request, {"omniglot": drawings()}, Limits()).card
    card = card.model_copy(update={"calibrated": False, "provenance": provenance})
    return write_model(folder, card, learner_of(card).init(torch.Generator().manual_seed(0)))


def calibrated(*arguments: str) -> Result:
    return CliRunner(env={"COLUMNS": "200"}).invoke(cli, ["calibrate", *arguments])


def test_old_model_gets_temperatures_and_references_and_keeps_its_weights(tmp_path: Path) -> None:
    weights = old_model(tmp_path, OMNIGLOT, kind="prototypical")
    before = model_of(read_model_files(weights))
    done = calibrated(str(weights), "--data", DATA)
    assert done.exit_code == 0, done.output
    model = model_of(read_model_files(weights))
    assert model.card.calibrated
    assert TEMPERATURES not in before.meta.fixed
    assert all(a != 0.0 for a, _ in model.meta.fixed[TEMPERATURES].tolist())
    assert all(torch.equal(leaf, before.meta.trained[name]) for name, leaf in model.meta.trained.items())
    assert len(model.card.familiarity) > 0
    assert "calibration_error" in model.card.metrics["test"]["by_shots_and_step"]["1"]["0"]
    assert (model.card.provenance["seed"], model.card.output) == (5, before.card.output)
    assert str(tmp_path) not in weights.with_suffix(".json").read_text()


def test_doing_it_again_finds_the_same(tmp_path: Path) -> None:
    weights = old_model(tmp_path, OMNIGLOT, kind="prototypical")
    for out in ("once", "twice"):
        assert calibrated(str(weights), "--data", DATA, "--out", str(tmp_path / out)).exit_code == 0
        weights = tmp_path / out / weights.name
    once, twice = (read_model_files(tmp_path / out / weights.name) for out in ("once", "twice"))
    assert once.weights == twice.weights
    assert once.card.familiarity == twice.card.familiarity
    assert once.card.metrics == twice.card.metrics


def test_temperatures_that_are_there_are_made_anew(tmp_path: Path) -> None:
    weights = old_model(tmp_path, OMNIGLOT, kind="prototypical")
    assert calibrated(str(weights), "--data", DATA).exit_code == 0
    right = model_of(read_model_files(weights))
    wrong = at(right.meta, ((0.0, (2.0, 0.5)), (1.0, (2.0, -0.5))))
    write_model(tmp_path, right.card.model_copy(update={"metrics": {}}), wrong)
    assert calibrated(str(weights), "--data", DATA).exit_code == 0
    again = model_of(read_model_files(weights))
    assert torch.equal(again.meta.fixed[TEMPERATURES], right.meta.fixed[TEMPERATURES])
    assert again.card.metrics == right.card.metrics


def test_regression_gets_references_alone(tmp_path: Path) -> None:
    weights = old_model(tmp_path, {"kind": "sinusoid", "shots": 3, "queries": 3}, kind="maml", rates="per_tensor")
    before = weights.read_bytes()
    assert calibrated(str(weights)).exit_code == 0
    model = model_of(read_model_files(weights))
    assert weights.read_bytes() == before
    assert (model.card.calibrated, len(model.card.familiarity) > 0) == (False, True)


@pytest.mark.parametrize(
    ("changes", "arguments", "said"),
    [
        ({}, [], "is not at hand"),
        ({"provenance": {}}, ["--data", DATA], "holds no training request"),
        ({"learner": {"kind": "other"}}, ["--data", DATA], "learner kind 'other'"),
    ],
    ids=["no data", "no request", "no such learner"],
)
def test_what_cannot_be_calibrated_is_a_usage_error_and_left_as_it_is(
    tmp_path: Path, changes: dict[str, Any], arguments: list[str], said: str
) -> None:
    weights = old_model(tmp_path, OMNIGLOT, kind="prototypical")
    files = read_model_files(weights)
    weights.with_suffix(".json").write_text(files.card.model_copy(update=changes).model_dump_json())
    before = weights.with_suffix(".json").read_bytes()
    done = calibrated(str(weights), *arguments)
    assert done.exit_code == 2
    assert said in done.output
    assert weights.with_suffix(".json").read_bytes() == before
