"""docs/reliability.md has a line for each promise, and every test that it names is there."""

import ast
import re
from functools import cache

import pytest

from app.settings import REPOSITORY

PAGE = (REPOSITORY / "docs" / "reliability.md").read_text(encoding="utf-8")
LINES = [
    [cell.strip() for cell in line.strip("|").split("|")] for line in re.findall(r"^\| \d+ \|.*\|$", PAGE, re.MULTILINE)
]
NAMED = re.compile(r"`((?:tests|benchmarks)/[^`]+)`")
BY_HAND = re.compile(r"(?:tests/soak|benchmarks)/\w+\.py")
"""Scripts that take too long for every change."""


@cache
def functions_of(file: str) -> set[str]:
    tree = ast.parse((REPOSITORY / file).read_text(encoding="utf-8"))
    return {node.name for node in tree.body if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))}


def test_there_is_a_line_for_each_of_37() -> None:
    assert [line[0] for line in LINES] == [str(number) for number in range(1, 38)]
    assert all(len(line) == 4 for line in LINES)


@pytest.mark.parametrize("line", LINES, ids=lambda line: line[0])
def test_a_line_names_tests_that_are_there_and_a_figure(line: list[str]) -> None:
    _, promise, tests, figure = line
    named = NAMED.findall(tests)
    assert named, f"no test is named: {tests}"
    assert promise
    assert figure
    assert not NAMED.sub("", tests).strip(), f"what is no test: {tests}"
    for name in named:
        file, _, function = name.partition("::")
        assert (REPOSITORY / file).is_file(), name
        if BY_HAND.fullmatch(name):
            continue
        assert function in functions_of(file), name
        assert function.startswith("test_"), name
