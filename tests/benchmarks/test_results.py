"""A page of all parts is put together from what each part's last run left."""

from pathlib import Path

import pytest

from benchmarks.all import SECTIONS
from benchmarks.results import (
    NOT_MEASURED,
    RESULTS,
    Figure,
    PartResult,
    Section,
    as_markdown,
    part_result,
    read_part,
    write_part,
)

FIGURE = Figure("adapts a second", "7 (2100 against 300)", "≥ 6", True, "python -m benchmarks.speed")
SECTION = Section("adapts", "Adapts", (("adapts a second", "≥ 6"), ("p99 over p50", "≤ 4")))


def result(part: str = "adapts") -> PartResult:
    return part_result(part, "python -m benchmarks.speed --only adapts", [FIGURE], {"by_callers": {"1": 2.5}})


def test_a_result_comes_back_as_it_was(tmp_path: Path) -> None:
    written = result()
    write_part(written, tmp_path)
    assert read_part("adapts", tmp_path) == written


def test_a_part_that_is_run_again_replaces_its_own_alone(tmp_path: Path) -> None:
    write_part(result("adapts"), tmp_path)
    write_part(result("startup"), tmp_path)
    before = (tmp_path / "startup.json").read_bytes()
    write_part(part_result("adapts", "x", []), tmp_path)
    assert read_part("adapts", tmp_path) == part_result("adapts", "x", [])
    assert (tmp_path / "startup.json").read_bytes() == before


def test_a_figure_that_is_missing_has_its_row(tmp_path: Path) -> None:
    write_part(result(), tmp_path)
    rows = [line for line in as_markdown([SECTION], tmp_path).splitlines() if line.startswith("| ")]
    assert rows[1:] == [
        "| adapts a second | 7 (2100 against 300) | ≥ 6 | yes |",
        f"| p99 over p50 | {NOT_MEASURED} | ≤ 4 | |",
    ]


def test_a_part_that_was_never_run_says_so(tmp_path: Path) -> None:
    assert "Not measured yet." in as_markdown([SECTION], tmp_path)


def test_a_figure_beside_the_expected_ones_is_shown_too(tmp_path: Path) -> None:
    write_part(result(), tmp_path)
    assert FIGURE.reached in as_markdown([Section("adapts", "Adapts")], tmp_path)


def test_a_result_that_is_none_is_named(tmp_path: Path) -> None:
    (tmp_path / "adapts.json").write_text('{"part": "adapts"}', encoding="utf-8")
    with pytest.raises(ValueError, match=r"adapts\.json is no result"):
        read_part("adapts", tmp_path)


def test_every_result_that_is_kept_is_on_the_page() -> None:
    shown = {section.part for section in SECTIONS} | {"stages"}  # the profile is in docs/speed.md
    assert {path.stem for path in RESULTS.glob("*.json")} <= shown
