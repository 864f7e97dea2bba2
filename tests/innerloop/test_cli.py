"""Claims about the command `innerloop`."""

import base64
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from typer.testing import CliRunner, Result

import innerloop
from innerloop.cli import app

TIMING = {"queue": 0.4, "compute": 2.1, "total": 3.0}
ADAPTED = {
    "task_id": "pets",
    "revision": 3,
    "model": "omniglot",
    "model_version": 2,
    "steps": 1,
    "kept_step": 1,
    "support_size": 2,
    "classes": ["[red]cat", "dog"],
    "support_loss": [1.92, None],
    "validation": {"before": None, "after": {"loss": 0.2, "accuracy": 0.5}},
    "estimate": {"method": "k_fold", "folds": 5, "rows": 25, "accuracy": 0.92, "loss": 0.31},
    "familiarity": {"before": None, "after": 0.97},
    "support_stored": True,
    "cached": True,
    "expires_at": None,
    "timing_ms": TIMING,
}
PREDICTED = {"task_id": "a", "revision": 1, "model": "sinusoid", "model_version": 1, "timing_ms": TIMING}
REGRESSION = {**PREDICTED, "outputs": [[0.125], [0.5]]}
CLASSIFICATION = {**PREDICTED, "labels": ["dog"], "probabilities": [[0.25, 0.75]], "classes": ["cat", "dog"]}
ABSTAINED = {**CLASSIFICATION, "labels": [None]}
TASK = {
    "task_id": "a",
    "model": "sinusoid",
    "model_version": 1,
    "revision": 2,
    "revisions": 2,
    "support_size": 2,
    "support_stored": True,
    "classes": None,
    "bytes": 100,
    "created_at": "2026-11-21T10:00:00Z",
    "updated_at": "2026-11-21T10:00:00Z",
    "expires_at": None,
}
AUDITED = {
    "at": "2026-11-21T10:00:00Z",
    "action": "download-weights",
    "task_id": "a",
    "revision": 1,
    "key_id": "k1",
    "request_id": "r-1",
}
VERSION = {
    "version": 1,
    "created_at": "2026-11-21T10:00:00Z",
    "learner": {"kind": "maml", "steps": 1},
    "network": {"kind": "mlp", "hidden": [40, 40]},
    "input": {"kind": "vector", "shape": [1]},
    "output": {"kind": "regression", "shape": [1]},
    "default_steps": 5,
    "max_steps": 100,
    "bytes": 6800,
    "sha256": "00",
    "provenance": {},
    "metrics": {},
}
MODEL = {"name": "sinusoid", "active_version": 1, "authority": "weights", "versions": [VERSION]}
SUPPORT = {"inputs": [[-1.5], [0.5]], "targets": [0.25, -1]}


class Service:
    """Answer every request with the same, and keep what came."""

    def __init__(self, answer: Any = None, status: int = 200) -> None:
        self.answer, self.status = answer, status
        self.lines: list[str] = []
        self.bodies: list[Any] = []

    def __call__(self, request: httpx.Request) -> httpx.Response:
        self.lines.append(f"{request.method} {request.url.raw_path.decode()}")
        if request.content:
            self.bodies.append(json.loads(request.content))
        return httpx.Response(self.status, json=self.answer)


def run(service: Callable[[httpx.Request], httpx.Response], *words: str | Path, stdin: str = "") -> Result:
    return CliRunner(env={"COLUMNS": "200"}).invoke(
        app, [str(word) for word in words], obj=httpx.MockTransport(service), input=stdin
    )


def csv_support(folder: Path) -> Path:
    path = folder / "support.csv"
    path.write_text("x,out\n-1.5,0.25\n0.5,-1\n", encoding="utf-8")
    return path


def json_support(folder: Path) -> Path:
    path = folder / "support.json"
    path.write_text(json.dumps(SUPPORT), encoding="utf-8")
    return path


def npz_support(folder: Path) -> Path:
    np.savez(folder / "support.npz", inputs=np.array(SUPPORT["inputs"]), targets=np.array(SUPPORT["targets"]))
    return folder / "support.npz"


def test_no_words_show_the_help() -> None:
    result = run(Service())
    assert result.exit_code == 2
    assert "adapt" in result.output


@pytest.mark.parametrize("support", [csv_support, json_support, npz_support])
def test_adapt_sends_the_rows_of_each_kind_of_file(tmp_path: Path, support: Callable[[Path], Path]) -> None:
    service = Service(ADAPTED, 201)
    result = run(service, "adapt", support(tmp_path), "--task-id", "pets", "--steps", "1")
    assert result.exit_code == 0, result.output
    assert service.lines == ["POST /adapt"]
    expected = {"support": SUPPORT, "task_id": "pets", "steps": 1, "append": False, "on_divergence": "error"}
    assert service.bodies == [expected]


def test_adapt_takes_pictures_by_class_and_json_on_stdin(tmp_path: Path) -> None:
    (tmp_path / "cat").mkdir()
    (tmp_path / "cat" / "1.png").write_bytes(b"\x89PNG")
    service = Service(ADAPTED, 201)
    assert run(service, "adapt", tmp_path).exit_code == 0
    assert run(service, "adapt", "-", stdin=json.dumps(SUPPORT)).exit_code == 0
    picture = base64.b64encode(b"\x89PNG").decode()
    assert service.bodies[0]["support"] == {"inputs": [picture], "targets": ["cat"]}
    assert service.bodies[1]["support"] == SUPPORT


def test_adapt_sends_every_option(tmp_path: Path) -> None:
    service = Service(ADAPTED, 201)
    options = {
        "--model": "omniglot@2",
        "--learning-rate": "0.5",
        "--learning-rate-scale": "2",
        "--ttl-seconds": "60",
        "--if-revision": "2",
        "--on-divergence": "best",
        "--target": "out",
        "--validation": str(csv_support(tmp_path)),
    }
    words = [word for option in options.items() for word in option]
    assert run(service, "adapt", csv_support(tmp_path), "--append", *words).exit_code == 0
    assert service.bodies == [
        {
            "support": SUPPORT,
            "model": "omniglot@2",
            "learning_rate": 0.5,
            "learning_rate_scale": 2.0,
            "ttl_seconds": 60,
            "if_revision": 2,
            "on_divergence": "best",
            "append": True,
            "validation": SUPPORT,
        }
    ]


def test_adapt_for_ever_sends_null_and_an_unnamed_time_sends_nothing() -> None:
    service = Service(ADAPTED, 201)
    for words in (["--forever"], []):
        assert run(service, "adapt", "-", *words, stdin=json.dumps(SUPPORT)).exit_code == 0
    assert service.bodies[0]["ttl_seconds"] is None
    assert "ttl_seconds" not in service.bodies[1]


def test_adapt_shows_what_it_did(tmp_path: Path) -> None:
    shown = run(Service(ADAPTED), "adapt", csv_support(tmp_path)).stdout
    facts = ["3 (cached)", "omniglot@2", "[red]cat, dog", "1.92 → –", "– → loss 0.2, accuracy 0.5"]
    for fact in [*facts, "accuracy 0.92, loss 0.31, by 25 rows in 5 folds", "– → 0.97"]:
        assert fact in shown


@pytest.mark.parametrize("named", [True, False])
def test_no_estimate_is_asked_for_by_its_name_alone(named: bool) -> None:
    service = Service({**ADAPTED, "estimate": None}, 201)
    result = run(service, "adapt", "-", *["--no-estimate"] * named, stdin=json.dumps(SUPPORT))
    assert result.exit_code == 0, result.output
    assert service.bodies[0].get("estimate", "not named") == (False if named else "not named")
    assert "accuracy 0.92" not in result.stdout


def test_predict_shows_one_output_a_row() -> None:
    service = Service(REGRESSION)
    result = run(service, "predict", "-", "--task-id", "a", "--revision", "1", stdin="[[1], [2]]")
    assert result.exit_code == 0, result.output
    assert service.bodies == [{"task_id": "a", "revision": 1, "inputs": [[1], [2]]}]
    assert "0.125" in result.stdout


def test_predict_shows_labels_beside_the_names_of_pictures(tmp_path: Path) -> None:
    (tmp_path / "who.png").write_bytes(b"\x89PNG")
    shown = run(Service(CLASSIFICATION), "predict", tmp_path / "who.png", "--task-id", "pets").stdout
    for fact in ("who.png", "dog", "p(cat)", "0.25", "0.75"):
        assert fact in shown


@pytest.mark.parametrize("words", [["--task-id", "a"], ["--support", "-"]])
def test_predict_sends_below_what_it_abstains_and_shows_no_label(tmp_path: Path, words: list[str]) -> None:
    service = Service(ABSTAINED)
    rows = tmp_path / "rows.json"
    rows.write_text("[[1]]", encoding="utf-8")
    result = run(service, "predict", rows, *words, "--abstain-below", "0.8", stdin=json.dumps(SUPPORT))
    assert result.exit_code == 0, result.output
    assert service.bodies[0]["abstain_below"] == 0.8
    (shown,) = [line.split() for line in result.stdout.splitlines() if "0.25" in line]
    assert shown == ["0", "–", "0.25", "0.75"]


def test_predict_without_a_task_sends_the_support(tmp_path: Path) -> None:
    service = Service(REGRESSION)
    words = [
        "--support",
        str(csv_support(tmp_path)),
        "--target",
        "out",
        "--model",
        "m",
        "--on-divergence",
        "best",
    ]
    assert run(service, "predict", csv_support(tmp_path), *words).exit_code == 0
    expected = {"support": SUPPORT, "model": "m", "on_divergence": "best", "inputs": SUPPORT["inputs"]}
    assert service.bodies == [expected]


COMMANDS: dict[str, tuple[list[str], Any, str, str]] = {
    "tasks list": (["tasks", "list", "--model", "m"], [TASK], "GET /tasks?model=m", "sinusoid@1"),
    "tasks audit": (["tasks", "audit", "a"], [AUDITED], "GET /audit?task_id=a", "download-weights"),
    "audit": (["tasks", "audit"], [AUDITED], "GET /audit", "download-weights"),
    "tasks show": (["tasks", "show", "a"], TASK, "GET /tasks/a", "support_size"),
    "models list": (["models", "list"], [MODEL], "GET /models", "regression"),
    "models show": (["models", "show", "sinusoid"], MODEL, "GET /models/sinusoid", "sinusoid@1 (active)"),
    "authority": (["models", "authority", "sinusoid", "rows"], MODEL, "POST /models/sinusoid/authority", "(active)"),
    "promote": (["models", "promote", "sinusoid", "1"], MODEL, "POST /models/sinusoid/promote", "(active)"),
}


@pytest.mark.parametrize(("words", "answer", "line", "shown"), COMMANDS.values(), ids=COMMANDS)
def test_command_shows_the_answer_as_a_table_or_as_json(words: list[str], answer: Any, line: str, shown: str) -> None:
    sent = {"data": answer, "has_more": False, "next": None} if isinstance(answer, list) else answer
    service = Service(sent)
    table, as_json = run(service, *words), run(service, *words, "--json")
    assert service.lines == [line, line]
    assert shown in table.stdout
    assert json.loads(as_json.stdout) == answer


@pytest.mark.parametrize("answer", [REGRESSION, CLASSIFICATION, ABSTAINED])
def test_predict_prints_json_as_it_came(answer: dict[str, Any]) -> None:
    result = run(Service(answer), "predict", "-", "--task-id", "a", "--json", stdin="[[1]]")
    assert json.loads(result.stdout) == answer


def test_adapt_prints_json_as_it_came() -> None:
    result = run(Service(ADAPTED), "adapt", "-", "--json", stdin=json.dumps(SUPPORT))
    assert json.loads(result.stdout) == ADAPTED


def test_delete_deletes() -> None:
    service = Service(status=204)
    assert run(service, "tasks", "delete", "a").stdout == "deleted a\n"
    assert service.lines == ["DELETE /tasks/a"]


def test_url_is_an_option() -> None:
    seen: list[str] = []

    def handler(request: httpx.Request) -> httpx.Response:
        seen.append(request.url.host)
        return httpx.Response(200, json=TASK)

    assert run(handler, "tasks", "show", "a", "--url", "http://there:1").exit_code == 0
    assert seen == ["there"]


def test_refusal_is_one_line_with_its_code_and_the_fields() -> None:
    field = {"loc": ["support", "targets", 1], "msg": "is a string"}
    body = {"code": "invalid-targets", "detail": "mixed targets", "errors": [field]}
    result = run(Service(body, 422), "adapt", "-", stdin=json.dumps(SUPPORT))
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr == "error: mixed targets (invalid-targets)\n  support.targets.1: is a string\n"


FAILURES: dict[str, tuple[list[str], str, int, str]] = {
    "broken file": (["adapt", "-"], "{", 2, "error: standard input, line 1: not JSON"),
    "missing file": (["adapt", "gone.csv"], "", 2, "error: there is no gone.csv (unreadable-file)"),
    "missing picture": (["predict", "gone.png", "--task-id", "a"], "", 2, "error: there is no gone.png"),
    "missing weights": (["models", "upload", "m", "gone.safetensors"], "", 2, "error: gone.safetensors cannot be read"),
    "missing data": (
        ["datasets", "add", "gone.csv", "--name", "d", "--kind", "grouped"],
        "",
        2,
        "error: there is no gone.csv",
    ),
    "not a number": (["predict", "-", "--task-id", "a"], "[[NaN]]", 1, "error: inputs[0][0] is nan"),
    "no id": (["tasks", "show", "a/b"], "", 1, "error: 'a/b' is no id"),
    "no address": (["tasks", "list", "--url", "nonsense"], "", 1, "error: 'nonsense' is no address"),
    "something else there": (["models", "list"], "", 1, "error: status 200 with a body that"),
    "no weights there": (
        ["models", "weights", "m", "1", "--out", "w.safetensors"],
        "",
        1,
        "error: an answer of 0 bytes that is no safetensors file",
    ),
}


@pytest.mark.parametrize(("words", "stdin", "status", "message"), FAILURES.values(), ids=FAILURES)
def test_failure_is_one_line_on_stderr_without_a_traceback(
    words: list[str], stdin: str, status: int, message: str
) -> None:
    result = run(Service(), *words, stdin=stdin)
    assert (result.exit_code, result.stdout) == (status, "")
    assert result.stderr.startswith(message)
    assert result.stderr.count("\n") == 1


WRONG_USAGE: dict[str, str] = {
    "adapt": "support_file",
    "adapt - --steps many": "'--steps': Input should be a valid integer",
    "adapt - --on-divergence hope": "'hope' is not one of",
    "adapt - --forever --ttl-seconds 5": "either --ttl-seconds or --forever",
    "predict -": "either --task-id or --support",
    "predict - --task-id a --support b.csv": "either --task-id or --support",
    "predict - --task-id a --abstain-below 1.1": "'--abstain-below'",
    "predict - --task-id a --abstain-below -0.1": "'--abstain-below'",
    "predict - --task-id a --abstain-below nan": "'--abstain-below'",
    "predict - --task-id a --abstain-below often": "'--abstain-below'",
    "train": "No such command 'train'",
    "models promote sinusoid": "version",
    "models promote sinusoid 0": "'version': ",
    "models weights sinusoid 1": "'--out'",
    "models weights sinusoid 1 --out .": ". is a folder; name a file",
    "tasks weights a --out gone/w": "there is no folder gone",
    "tasks weights a --out w --form half": "'half' is not one of",
    "tasks support a": "'--out'",
    "tasks support a --out gone/w": "there is no folder gone",
    "tasks remove-row a": "row",
    "tasks remove-row a -1": "-1",
    "tasks remove-row a one": "'row'",
    "datasets add d.csv --name d": "'--kind'",
    "datasets add d.csv --name d/e --kind grouped": "name: String should match pattern",
    "datasets add d.csv --name d --kind labelled --fractions 1,2": "split.fractions",
    "datasets add d.csv --name d --kind labelled --fractions much": "'much' is not three numbers",
    "datasets add d.csv --name d --kind labelled --fractions 0.5,0.4,0.2": "sum to 1",
    "datasets add d.csv --name d --kind labelled --output regression": "for regression the kind is grouped",
    "datasets add d.csv --name d --kind grouped --picture-size 7": "picture_size",
    "jobs start -": "- is no JSON object",
    "jobs checkpoint a": "'--out'",
}


@pytest.mark.parametrize("words", WRONG_USAGE)
def test_wrong_usage_is_one_line_on_stderr_and_exits_with_2(words: str) -> None:
    service = Service()
    result = run(service, *words.split(), stdin="[]")
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr.startswith("error: ")
    assert WRONG_USAGE[words].lower() in result.stderr.lower()
    assert result.stderr.count("\n") == 1
    assert service.lines == []


def test_version_is_that_of_the_package() -> None:
    assert run(Service(), "--version").stdout == f"innerloop {innerloop.__version__}\n"
