"""What must not be in the code is not, and whoever writes it is told: nothing that unpickles or runs what it reads."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from app.settings import REPOSITORY

SOURCES = [file for folder in ("app", "innerloop") for file in sorted((REPOSITORY / folder).rglob("*.py"))]
UNPICKLING_MODULES = {"pickle", "cPickle", "cloudpickle", "dill", "joblib", "marshal", "multiprocessing", "shelve"}
"""Those that unpickle what they read; connections of multiprocessing do so too."""
RUNNING = {"eval", "exec", "read_pickle", "to_pickle", "unsafe_load"}


@pytest.mark.parametrize(
    "code",
    [
        "import pickle\n",
        "from pickle import loads\n",
        "import torch\n\ntorch.load('file')\n",
        "from torch import load\n",
        "import torch\n\ntorch.save({}, 'file')\n",
    ],
)
def test_the_linter_refuses_pickles(code: str) -> None:
    command = [sys.executable, "-m", "ruff", "check", "--output-format=concise", "--stdin-filename", "app/x.py", "-"]
    done = subprocess.run(command, cwd=REPOSITORY, input=code, capture_output=True, text=True, timeout=60)
    assert done.returncode == 1, done.stderr
    assert "TID251" in done.stdout


def test_no_source_imports_what_unpickles() -> None:
    assert len(SOURCES) > 200
    found = [(file.name, name) for file in SOURCES for name in imported(tree_of(file)) if name in UNPICKLING_MODULES]
    assert found == []


def test_no_source_calls_what_unpickles_or_runs_text() -> None:
    for file in SOURCES:
        for call in (node for node in ast.walk(tree_of(file)) if isinstance(node, ast.Call)):
            name = ast.unparse(call.func)
            assert name.rpartition(".")[2] not in RUNNING, (file, name)
            assert name not in ("torch.load", "torch.jit.load", "yaml.load"), (file, name)
            allows = [keyword.value for keyword in call.keywords if keyword.arg == "allow_pickle"]
            assert [ast.unparse(value) for value in allows] in ([], ["False"]), (file, name)


def tree_of(file: Path) -> ast.Module:
    return ast.parse(file.read_text(encoding="utf-8"))


def imported(tree: ast.Module) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield node.module.partition(".")[0]
