"""README.md is true: its commands work as pasted, and its table of settings is the settings."""

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from app.settings import REPOSITORY, Settings
from tests.api.service import Service, start_service

README = (REPOSITORY / "README.md").read_text(encoding="utf-8")
WRITTEN_URL = "http://127.0.0.1:8000"


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    running = start_service(tmp_path_factory.mktemp("readme"))
    yield running
    running.stop()


def blocks(language: str, word: str) -> list[str]:
    found = re.findall(rf"^```{language}\n(.*?)^```", README, flags=re.MULTILINE | re.DOTALL)
    chosen = [block for block in found if word in block]
    assert chosen, f"README.md has no {language} block with {word}"
    return chosen


def test_the_curl_lines_work_as_pasted(service: Service, tmp_path: Path) -> None:
    for block in blocks("bash", "curl"):
        script = block.replace(WRITTEN_URL, service.url).replace("curl ", "curl --fail --silent --show-error ")
        done = subprocess.run(["bash", "-euc", script], cwd=REPOSITORY, capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, done.stdout + done.stderr
        assert "task_id" in done.stdout


def test_the_python_examples_work_as_pasted(service: Service) -> None:
    for block in blocks("python", "innerloop"):
        script = block.replace(WRITTEN_URL, service.url)
        command = [sys.executable, "-c", script]
        done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, done.stderr


def row_of(name: str) -> str:
    """Return the line of the README's table that a setting must have."""
    field = Settings.model_fields[name]
    default = field.default
    if isinstance(default, Path):
        default = default.name
    shown = "" if default is None else f"`{int(default) if isinstance(default, bool) else default}`"
    return f"| `{name.upper()}` | {shown} | {field.description} |"


@pytest.mark.parametrize("name", list(Settings.model_fields))
def test_every_setting_has_its_line(name: str) -> None:
    assert row_of(name) in README


def test_every_line_of_the_table_is_a_setting() -> None:
    table = README.partition("## Configuration")[2].partition("\n## ")[0]
    named = re.findall(r"^\| `([A-Z_]+)` \|", table, flags=re.MULTILINE)
    assert sorted(named) == sorted(name.upper() for name in Settings.model_fields)
