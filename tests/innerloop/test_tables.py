"""Claims about how answers look in a terminal."""

import re
from typing import Any

import pytest
from rich.console import Console, RenderableType

from innerloop import tables, wire
from tests.innerloop.answers import DATASET, FAILED, JOB, VERSION

TASK = {
    "task_id": "0123456789abcdef0123456789abcdef",
    "model": "omniglot-5way",
    "model_version": 12,
    "revision": 3,
    "revisions": 3,
    "support_size": 25,
    "classes": ["gamma", "delta", "epsilon", "zeta", "eta"],
    "bytes": 123_456,
    "created_at": "2026-11-21T10:00:00Z",
    "updated_at": "2026-11-21T10:00:00Z",
    "expires_at": "2026-12-21T10:00:00Z",
}
MODEL = {"name": "omniglot-5way", "active_version": 1, "versions": [VERSION]}
PREDICTED = {
    "task_id": "a",
    "revision": 1,
    "model": "m",
    "model_version": 1,
    "timing_ms": {"queue": 0.4, "compute": 2.1, "total": 3.0},
}
MANY = [f"class-{n}" for n in range(20)]
LIKELY = [0.01] * 18 + [0.6, 0.22]
ADAPTED = {
    "task_id": TASK["task_id"],
    "revision": 3,
    "model": "omniglot-5way",
    "model_version": 12,
    "steps": 3,
    "kept_step": 3,
    "support_size": 25,
    "classes": TASK["classes"],
    "support_loss": [1.92, 0.4, 0.2, 0.1],
    "validation": None,
    "estimate": {"method": "leave_one_out", "folds": 7, "rows": 7, "error": 1234.5678, "loss": 1234.5678},
    "familiarity": {"before": 0.4235, "after": 0.97},
    "cached": False,
    "expires_at": None,
    "timing_ms": PREDICTED["timing_ms"],
}
WORDS: dict[str, tuple[RenderableType, list[str]]] = {
    "adaptation": (
        tables.adaptation(wire.AdaptAnswer.model_validate(ADAPTED)),
        ["error 1235, loss 1235, by 7 rows leaving out one at a time", "0.4235 → 0.97"],
    ),
    "tasks": (tables.tasks([wire.TaskInfo.model_validate(TASK)]), [str(TASK["task_id"]), "omniglot-5way@12"]),
    "task": (tables.task(wire.TaskInfo.model_validate(TASK)), [str(TASK["task_id"]), "123 kB"]),
    "models": (tables.models([wire.ModelInfo.model_validate(MODEL)]), ["omniglot-5way", "regression"]),
    "model": (tables.model(wire.ModelInfo.model_validate(MODEL)), ["omniglot-5way@1 (active)", "5 of 100"]),
    "version": (tables.version(wire.ModelVersionInfo.model_validate(VERSION)), ["6.8 kB"]),
    "datasets": (tables.datasets([wire.DatasetInfo.model_validate(DATASET)] * 2), ["assays", "grouped"]),
    "dataset": (tables.dataset(wire.DatasetInfo.model_validate(DATASET)), ["total_UPDRS", "500 kB"]),
    "jobs": (
        tables.jobs([wire.JobInfo.model_validate({**JOB, "job_id": TASK["task_id"]})]),
        [str(TASK["task_id"]), "running", "6 %"],
    ),
    "job": (tables.job(wire.JobInfo.model_validate(FAILED)), ["1200 of 20000", "training-diverged"]),
    "predictions of many classes": (
        tables.predictions(
            wire.PredictAnswer.model_validate(
                {**PREDICTED, "labels": ["class-18"], "probabilities": [LIKELY], "classes": MANY}
            ),
            ["who.png"],
        ),
        ["who.png", "class-18", "class-18 0.6, class-19 0.22, class-0 0.01"],
    ),
}


def shown(table: RenderableType, columns: int) -> str:
    console = Console(width=columns, color_system=None)
    with console.capture() as capture:
        console.print(table)
    return capture.get()


@pytest.mark.parametrize(("table", "words"), WORDS.values(), ids=WORDS)
def test_words_are_whole_in_a_terminal_of_80_columns(table: RenderableType, words: list[str]) -> None:
    text = shown(table, 80)
    assert [word for word in words if word not in text] == []
    assert max(map(len, text.splitlines())) <= 80


@pytest.mark.parametrize("name", ["tasks", "models", "model", "datasets", "jobs"])
def test_listing_is_one_line_a_row_in_a_terminal_of_80_columns(name: str) -> None:
    rows = shown(WORDS[name][0], 80).strip().splitlines()[2:]  # under the heads and their line
    assert len(rows) == (2 if name == "datasets" else 1)


def test_wide_terminal_shows_every_column() -> None:
    table = shown(WORDS["tasks"][0], 300)
    assert "gamma, delta, epsilon, zeta, eta" in table
    assert "expires" in table


def test_id_that_is_wider_than_the_terminal_is_folded_and_not_cut() -> None:
    cells = [line[:14] for line in shown(WORDS["tasks"][0], 30).splitlines()]
    assert str(TASK["task_id"]) in "".join(re.findall(r"\b[0-9a-f]{2,}", " ".join(cells)))


LOSSES = [([2.0, 1.0], "2 → 1"), (list(range(101)), "0 → 1 → 2 → 3 → 4 → 5 → … → 100")]


@pytest.mark.parametrize(("losses", "expected"), LOSSES)
def test_losses_of_many_steps_are_shown_in_part(losses: list[float], expected: str) -> None:
    answer: dict[str, Any] = {
        **PREDICTED,
        "steps": 1,
        "kept_step": 1,
        "support_size": 2,
        "classes": None,
        "support_loss": losses,
        "validation": None,
        "cached": False,
        "expires_at": None,
    }
    assert expected in shown(tables.adaptation(wire.AdaptAnswer.model_validate(answer)), 80)
