"""Claims about the commands on data sets, jobs and weights."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
from typer.testing import CliRunner, Result

from innerloop.cli import app
from tests.innerloop.answers import DATASET, FAILED, JOB, PROGRESS, REQUEST, SUCCEEDED, VERSION, WEIGHTS, page


class Service:
    """Answer by the line of the request, and keep the lines and bodies that came."""

    def __init__(self, answers: dict[str, Any]) -> None:
        self.answers = answers
        self.lines: list[str] = []
        self.bodies: list[bytes] = []

    def __call__(self, request: httpx.Request) -> httpx.Response:
        line = f"{request.method} {request.url.raw_path.decode()}"
        self.lines.append(line)
        self.bodies.append(request.content)
        answer = self.answers[line]
        if isinstance(answer, httpx.Response):
            return answer
        return httpx.Response(200, content=answer) if isinstance(answer, bytes) else httpx.Response(200, json=answer)


def run(service: Callable[[httpx.Request], httpx.Response], *words: str | Path, stdin: str = "") -> Result:
    return CliRunner(env={"COLUMNS": "200"}).invoke(
        app, [str(word) for word in words], obj=httpx.MockTransport(service), input=stdin
    )


COMMANDS: dict[str, tuple[str, Any, list[str]]] = {
    "datasets list": ("GET /datasets", [DATASET], ["assays", "grouped", "5875", "42", "vector [19]", "500 kB"]),
    "datasets show assays": ("GET /datasets/assays", DATASET, ["by group: 30 to train, 6 to validate, 6 to test"]),
    "jobs list": ("GET /meta-train", [JOB], ["j-1", "running", "assays", "6 %", "0.61", "0.58"]),
    "jobs show j-1": ("GET /meta-train/j-1", JOB, ["1200 of 20000", "4100", "110 s", "2026-11-21 10:00Z"]),
    "jobs cancel j-1": ("POST /meta-train/j-1/cancel", JOB, ["j-1"]),
    "jobs resume j-1": ("POST /meta-train/j-1/resume", JOB, ["j-1"]),
}


@pytest.mark.parametrize("words", COMMANDS)
def test_command_shows_the_answer_as_a_table_or_as_json(words: str) -> None:
    line, answer, shown = COMMANDS[words]
    service = Service({line: page(*answer) if isinstance(answer, list) else answer})
    table, as_json = run(service, *words.split()), run(service, *words.split(), "--json")
    assert service.lines == [line, line]
    assert [fact for fact in shown if fact not in table.stdout] == []
    assert json.loads(as_json.stdout) == answer


def test_failed_job_is_shown_with_its_error() -> None:
    shown = run(Service({"GET /meta-train/j-1": FAILED}), "jobs", "show", "j-1").stdout
    assert "the meta-loss is not finite at iteration 1300 (training-diverged)" in shown


SPECS: dict[str, dict[str, Any]] = {
    "--kind labelled": {"kind": "labelled"},
    "--kind grouped --targets y --group patient": {"kind": "grouped", "targets": "y", "group": "patient"},
    "--kind grouped --targets y --targets z --input a --input b --output regression": {
        "kind": "grouped", "targets": ["y", "z"], "inputs": ["a", "b"], "output": "regression",
    },
    "--kind labelled --picture-size 32 --split-by group --fractions 0.6,0.2,0.2 --seed 7": {
        "kind": "labelled", "picture_size": 32, "split": {"by": "group", "fractions": [0.6, 0.2, 0.2], "seed": 7},
    },
}  # fmt: skip


@pytest.mark.parametrize("words", SPECS)
def test_data_set_is_added_with_what_was_said_and_nothing_else(tmp_path: Path, words: str) -> None:
    (tmp_path / "d.csv").write_text("a,b,y\n1,2,3\n")
    service = Service({"POST /datasets": DATASET})
    result = run(service, "datasets", "add", tmp_path / "d.csv", "--name", "d", *words.split())
    assert result.exit_code == 0, result.stderr
    assert "5875" in result.stdout
    assert b"a,b,y\n1,2,3\n" in service.bodies[0]
    (spec,) = [line for line in service.bodies[0].splitlines() if line.startswith(b"{")]
    assert json.loads(spec) == {"name": "d", **SPECS[words]}


def test_job_starts_from_a_file_with_fields_changed(tmp_path: Path) -> None:
    (tmp_path / "request.json").write_text(json.dumps(REQUEST))
    service = Service({"POST /meta-train": JOB})
    words = "--set", "iterations=500", "--set", "tasks.shots=[1, 5]", "--set", "loss=huber", "--set", "new.field=null"
    assert run(service, "jobs", "start", tmp_path / "request.json", *words).exit_code == 0
    assert run(service, "jobs", "start", "-", stdin=json.dumps(REQUEST)).exit_code == 0
    tasks = {**REQUEST["tasks"], "shots": [1, 5]}
    changed = {**REQUEST, "iterations": 500, "tasks": tasks, "loss": "huber", "new": {"field": None}}
    assert [json.loads(body) for body in service.bodies] == [changed, REQUEST]


@pytest.mark.parametrize("change", ["iterations", "=5", "tasks.=5", "name.first=5"])
def test_change_that_names_no_field_is_wrong_usage(change: str) -> None:
    result = run(Service({}), "jobs", "start", "-", "--set", change, stdin=json.dumps(REQUEST))
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr.startswith("error: Invalid value for '--set'") or "--set" in result.stderr
    assert repr(change) in result.stderr


def watched(ended: dict[str, Any], *words: str) -> Result:
    progress = "".join(
        f"id: {n}\nevent: progress\ndata: {json.dumps({**PROGRESS, 'iteration': n * 1000})}\n\n" for n in (1, 2)
    )
    end = f'id: 3\nevent: status\ndata: {{"status": "{ended["status"]}"}}\n\nid: 4\nevent: end\ndata: {{}}\n\n'
    headers = {"Content-Type": "text/event-stream"}
    jobs = iter([JOB, ended])

    def handler(request: httpx.Request) -> httpx.Response:
        if request.url.path.endswith("/events"):
            return httpx.Response(200, headers=headers, content=progress + end)
        return httpx.Response(200, json=next(jobs))

    return run(handler, "jobs", "watch", "j-1", *words)


def test_watch_of_a_job_that_succeeds_shows_progress_and_the_model() -> None:
    result = watched(SUCCEEDED)
    assert (result.exit_code, result.stdout) == (0, "succeeded: assays@3\n")
    assert "2000/20000" in result.stderr
    assert "validation 0.58" in result.stderr
    assert json.loads(watched(SUCCEEDED, "--json").stdout) == SUCCEEDED


@pytest.mark.parametrize(
    ("ended", "sentence"),
    [
        (FAILED, "error: the meta-loss is not finite at iteration 1300 (training-diverged)\n"),
        ({**JOB, "status": "cancelled"}, "error: job j-1 was cancelled at iteration 1200 of 20000\n"),
    ],
    ids=["failed", "cancelled"],
)
def test_watch_of_a_job_that_does_not_succeed_exits_with_1_and_says_why(ended: dict[str, Any], sentence: str) -> None:
    result = watched(ended)
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr.endswith(sentence)


def test_watch_of_no_job_is_refused() -> None:
    problem = httpx.Response(404, json={"code": "job-not-found", "detail": "no job j-1"})
    result = run(Service({"GET /meta-train/j-1": problem}), "jobs", "watch", "j-1")
    assert (result.exit_code, result.stderr) == (1, "error: no job j-1 (job-not-found)\n")


DOWNLOADS: dict[str, str] = {
    "models weights m 3": "GET /models/m/versions/3/weights",
    "tasks weights t": "GET /tasks/t/weights?form=full",
    "tasks weights t --form delta --revision 2": "GET /tasks/t/weights?form=delta&revision=2",
    "jobs checkpoint j-1": "GET /meta-train/j-1/checkpoint",
}


@pytest.mark.parametrize("words", DOWNLOADS)
def test_download_is_written_to_the_file_alone(tmp_path: Path, words: str) -> None:
    out = tmp_path / "w.safetensors"
    result = run(Service({DOWNLOADS[words]: WEIGHTS}), *words.split(), "--out", out)
    assert result.stdout == f"wrote 10 bytes to {out}\n"
    assert out.read_bytes() == WEIGHTS
    assert list(tmp_path.iterdir()) == [out]


def test_refused_download_leaves_the_file_as_it_was(tmp_path: Path) -> None:
    out = tmp_path / "w.safetensors"
    out.write_bytes(b"before")
    problem = httpx.Response(404, json={"code": "version-not-found", "detail": "no m@3"})
    result = run(Service({DOWNLOADS["models weights m 3"]: problem}), "models", "weights", "m", "3", "--out", out)
    assert (result.exit_code, result.stderr) == (1, "error: no m@3 (version-not-found)\n")
    assert out.read_bytes() == b"before"


def test_upload_sends_the_file_and_shows_the_version(tmp_path: Path) -> None:
    (tmp_path / "w.safetensors").write_bytes(WEIGHTS)
    service = Service({"POST /models/m/versions": VERSION})
    result = run(service, "models", "upload", "m", tmp_path / "w.safetensors")
    assert result.exit_code == 0
    assert service.bodies == [WEIGHTS]
    assert "5 of at most 100" in result.stdout


@pytest.mark.parametrize(
    ("words", "line", "said"),
    [
        ("datasets delete assays", "DELETE /datasets/assays", "deleted assays\n"),
        ("models delete m 2", "DELETE /models/m/versions/2", "deleted m@2\n"),
    ],
)
def test_delete_deletes(words: str, line: str, said: str) -> None:
    service = Service({line: httpx.Response(204)})
    assert run(service, *words.split()).stdout == said
    assert service.lines == [line]
