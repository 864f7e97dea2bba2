"""The table goes on where it stopped, says what is missing, and refuses what it does not know."""

from pathlib import Path

import pytest
from typer.testing import CliRunner

from app.__main__ import cli
from benchmarks.quality.results import path_of, read_result
from benchmarks.quality.run import RESULTS, run
from tests.benchmarks.small_table import MINUTES, small

PARTS = ["baseline-mean", "fomaml"]


def table(folder: Path, methods: list[str], minutes: float = MINUTES, *, again: bool = False) -> list[str]:
    told: list[str] = []
    comparisons = {"sinusoid": small("sinusoid")}
    assert run([], [], methods, minutes, again=again, folder=folder, comparisons=comparisons, tell=told.append)
    return told


def test_a_part_that_has_its_result_is_not_run_again(tmp_path: Path) -> None:
    table(tmp_path, PARTS)
    first = {name: path_of(tmp_path / RESULTS, "sinusoid", name).read_bytes() for name in PARTS}
    told = table(tmp_path, PARTS)
    assert all(any(f"sinusoid {name}: there already" in line for line in told) for name in PARTS)
    assert {name: path_of(tmp_path / RESULTS, "sinusoid", name).read_bytes() for name in PARTS} == first


def test_another_budget_or_again_runs_a_method_anew(tmp_path: Path) -> None:
    table(tmp_path, ["fomaml"])
    for minutes, again in ((MINUTES * 1.5, False), (MINUTES * 1.5, True)):
        assert any("fomaml: running" in line for line in table(tmp_path, ["fomaml"], minutes, again=again))
    result = read_result(tmp_path / RESULTS, "sinusoid", "fomaml")
    assert result is not None
    assert result.minutes == MINUTES * 1.5


def test_a_row_that_was_not_run_says_so(tmp_path: Path) -> None:
    table(tmp_path, PARTS)
    lines = (tmp_path / "QUALITY.md").read_text(encoding="utf-8").splitlines()
    rows = {line.split("|")[1].strip(): line for line in lines if line.startswith("|")}
    assert "not run yet" in rows["`maml`"]
    assert "not run yet" not in rows["`fomaml`"]
    assert "±" in rows["`fomaml`"]


def test_the_page_links_a_plot_that_is_there(tmp_path: Path) -> None:
    table(tmp_path, PARTS)
    assert "](plots/quality-sinusoid.svg)" in (tmp_path / "QUALITY.md").read_text(encoding="utf-8")
    plot = (tmp_path / "plots" / "quality-sinusoid.svg").read_bytes()
    table(tmp_path, PARTS)
    assert (tmp_path / "plots" / "quality-sinusoid.svg").read_bytes() == plot


def test_data_that_is_not_named_leaves_its_rows_out(tmp_path: Path) -> None:
    told: list[str] = []
    comparisons = {"intents": small("intents")}
    run([], [], ["prototypical"], MINUTES, folder=tmp_path, comparisons=comparisons, tell=told.append)
    assert "intents prototypical: left out, --data intents=PATH names its data" in told
    assert not path_of(tmp_path / RESULTS, "intents", "prototypical").exists()


def test_a_result_that_is_none_is_named(tmp_path: Path) -> None:
    path = path_of(tmp_path / RESULTS, "sinusoid", "fomaml")
    path.parent.mkdir(parents=True)
    path.write_text('{"comparison": "sinusoid"}', encoding="utf-8")
    with pytest.raises(ValueError, match=r"sinusoid-fomaml\.json is no result"):
        table(tmp_path, ["fomaml"])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--all", "--only", "cifar"], "--only cifar: there is sinusoid"),
        (["--all", "--method", "magic"], "--method magic: there is"),
        (["--all", "--only", "sinusoid", "--method", "matching"], "--method matching: there is"),
        (["--all", "--minutes", "0"], "minutes"),
        (["--all", "--data", "omniglot"], "form name=path"),
        (["models/sinusoid.safetensors", "--all"], "not both"),
        ([], "or --all"),
    ],
)
def test_wrong_options_are_usage_errors(arguments: list[str], message: str) -> None:
    done = CliRunner().invoke(cli, ["evaluate", *arguments], env={"COLUMNS": "300", "NO_COLOR": "1", "TERM": "dumb"})
    assert done.exit_code == 2
    assert message in done.output
