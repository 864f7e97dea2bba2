"""The client's wheel: builds, installs alone without torch, and talks to a running service."""

import json
import subprocess
import sys
import venv
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from app.settings import REPOSITORY
from tests.api.service import Service, start_service

SCRIPT = """
import importlib.util, sys
assert importlib.util.find_spec("torch") is None and importlib.util.find_spec("fastapi") is None
assert importlib.util.find_spec("app") is None
import numpy as np
from innerloop import Client, errors
with Client(sys.argv[1]) as client:
    x = np.linspace(-3, 3, 10, dtype=np.float32)[:, None]
    adapted = client.adapt(x, np.sin(x[:, 0]), task_id="from-the-wheel", steps=5)
    assert adapted.revision == 1 and len(adapted.support_loss) == 6
    predicted = client.predict([[0.5], [1.5]], task_id="from-the-wheel")
    assert len(predicted.outputs) == 2
    try:
        client.predict([[0.5]], task_id="nobody")
    except errors.TaskNotFound as error:
        assert error.request_id
    else:
        raise AssertionError("no error")
print("talked")
"""


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    build = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(folder), str(REPOSITORY)]
    subprocess.run(build, check=True, capture_output=True)
    (made,) = folder.glob("innerloop-*.whl")
    return made


@pytest.fixture(scope="module")
def python(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The interpreter of a fresh environment that has the wheel and what it asks for."""
    folder = tmp_path_factory.mktemp("environment")
    venv.create(folder, with_pip=True)
    installed = folder / "bin" / "python"
    subprocess.run([installed, "-m", "pip", "install", "--quiet", str(wheel)], check=True, capture_output=True)
    return installed


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    running = start_service(tmp_path_factory.mktemp("service"))
    yield running
    running.stop()


def test_the_wheel_holds_the_client_alone(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    assert {name.partition("/")[0] for name in names if "dist-info" not in name} == {"innerloop"}
    assert "innerloop/py.typed" in names


def test_the_command_says_the_version_of_the_wheel(wheel: Path, python: Path) -> None:
    told = subprocess.run([python.with_name("innerloop"), "--version"], capture_output=True, text=True, timeout=120)
    assert told.stdout == f"innerloop {wheel.name.split('-')[1]}\n"


def test_the_wheel_alone_talks_to_a_running_service(python: Path, service: Service, tmp_path: Path) -> None:
    done = subprocess.run(
        [python, "-c", SCRIPT, service.url], cwd=tmp_path, capture_output=True, text=True, timeout=120
    )
    assert done.stdout == "talked\n", done.stderr


def test_the_command_of_the_wheel_adapts_and_predicts(python: Path, service: Service, tmp_path: Path) -> None:
    (tmp_path / "support.csv").write_text("x,y\n-1.2,0.31\n0.4,-0.8\n1.0,0.2\n")
    (tmp_path / "inputs.json").write_text("[[0.5], [1.5]]")
    command = python.with_name("innerloop")

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [command, *arguments], cwd=tmp_path, capture_output=True, text=True, timeout=120,
            env={"INNERLOOP_URL": service.url, "COLUMNS": "120"},
        )  # fmt: skip

    adapted = run("adapt", "support.csv", "--task-id", "by-command", "--json")
    assert adapted.returncode == 0, adapted.stderr
    assert json.loads(adapted.stdout)["revision"] == 1
    predicted = run("predict", "inputs.json", "--task-id", "by-command", "--json")
    assert len(json.loads(predicted.stdout)["outputs"]) == 2
    assert "by-command" in run("tasks", "list").stdout
    missing = run("predict", "inputs.json", "--task-id", "nobody")
    assert missing.returncode == 1
    assert "task-not-found" in missing.stderr
    assert "Traceback" not in missing.stderr
