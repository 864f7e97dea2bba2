"""Every figure to reach has its row, each is judged by its limit, and the pages are made of what was measured."""

import itertools
import os
from pathlib import Path

import pytest

from benchmarks import speed
from benchmarks.load import Load
from benchmarks.results import NOT_MEASURED, Figure, part_result, read_part, write_part
from benchmarks.speed_parts import adapts, idle, large_bodies, memory, predicts, stages
from benchmarks.speed_parts.bodies import predict_requests, skewed, uniform
from benchmarks.speed_parts.conditions import CALLERS, QUICK, Plan, Round, Rounds
from benchmarks.speed_parts.curve import write_curve
from benchmarks.speed_parts.page import BEGIN, END, measured, write_measured
from benchmarks.speed_parts.targets import ADAPTS, META_STEPS, PREDICTS, STAGES, TARGETS, sections

COMMAND = "python -m benchmarks.speed"


def rounds(*rates: float, p50_ms: float = 1.0, p99_ms: float = 2.0) -> Rounds:
    return Rounds(tuple(Round(Load(rate, p50_ms, p99_ms, 10, 10, 0, b"", []), 100.0) for rate in rates))


def adapt_rounds(ours: float) -> dict[str, Rounds]:
    rates = {"empty": 6000.0, "naive-def": 300.0, "naive-async": 350.0, "innerloop": ours, "innerloop, estimate": 900.0}
    return {name: rounds(rate) for name, rate in rates.items()}


def all_figures() -> list[Figure]:
    """Return the figures that each part would give."""
    callers = {count: adapt_rounds(100.0 * count) for count in CALLERS}
    sides = dict.fromkeys(("empty", "uniform", "skewed", "one task"), rounds(100.0))
    large = {size: {"innerloop": rounds(1.0), "peer": rounds(1.0)} for size in (1000, 10_000, 1_000_000)}
    modes = dict.fromkeys(("eager", "compiled", "empty"), rounds(100.0))
    return [
        *adapts.figures(callers, COMMAND),
        *predicts.figures(sides, sides, COMMAND),
        *idle.figures(modes, 1.0, COMMAND),
        *(
            figure
            for form in ("binary", "json")
            for figure in large_bodies.figures(form, large, {10_000: (1.0, 1.0), 1_000_000: (1.0, 1.0)}, COMMAND)
        ),
        *memory.figures(memory.Found(7000, 8000.0, 7500.0), COMMAND),
    ]


def test_every_figure_to_reach_is_measured_by_some_part() -> None:
    found = [figure.what for figure in all_figures()]
    expected = [target.what for target in TARGETS.values() if target.part != META_STEPS]
    assert sorted(found) == sorted(expected)


def test_every_figure_to_reach_has_its_row_before_it_is_measured(tmp_path: Path) -> None:
    lines = measured(sections(), tmp_path)
    for target in TARGETS.values():
        assert f"| {target.what} | {NOT_MEASURED} | {target.shown} | |" in lines


def test_no_two_figures_share_a_name() -> None:
    assert len({target.what for target in TARGETS.values()}) == len(TARGETS)


@pytest.mark.parametrize(
    ("name", "value", "met"),
    [("adapts-naive", 6.0, True), ("adapts-naive", 5.99, False), ("memory", 1.15, True), ("memory", 1.16, False)],
)
def test_a_figure_is_judged_by_its_limit(name: str, value: float, met: bool) -> None:
    assert TARGETS[name].figure(value, "", COMMAND).met is met


def test_ratios_are_taken_within_a_round() -> None:
    ours, noisy = rounds(100.0, 10.0, 100.0), rounds(50.0, 5.0, 50.0)
    assert ours.over(noisy) == 2.0
    assert rounds(1.0, 9.0, 2.0).per_second == 2.0


def test_the_faster_naive_app_counts() -> None:
    assert adapts.faster_naive(adapt_rounds(1.0))[0] == "naive-async"


def test_a_curve_that_falls_is_found() -> None:
    assert adapts.least_growth([(1, 100.0), (2, 200.0), (4, 210.0)])[0] == 1.05
    assert adapts.least_growth([(1, 100.0), (2, 200.0), (4, 150.0), (8, 300.0)])[0] == 0.75


def test_the_dearer_way_into_the_cache_counts() -> None:
    (figure,) = memory.figures(memory.Found(1000, 2024.0, 3024.0), COMMAND)
    assert figure.reached.startswith("2 ")


def test_a_skewed_draw_prefers_few_tasks_and_a_uniform_one_none() -> None:
    requests = predict_requests(1000)
    for draw, low, high in ((uniform, 0.08, 0.12), (skewed, 0.6, 0.9)):
        drawn = list(itertools.islice(draw(requests), 100_000))
        counts = sorted((drawn.count(request) for request in set(drawn)), reverse=True)
        assert low < sum(counts[:100]) / len(drawn) < high


def test_stages_are_told_by_the_names_of_threads() -> None:
    spent = {stages.REPLY: 90.0, "batcher-cpu": 40.0, "batcher-writing": 30.0, "AnyIO worker": 5.0, "asyncio_0": 3.0}
    assert list(stages.by_stage({**spent, stages.READING: 20.0}).items()) == [
        (stages.STAGES[stages.READING], 20.0),
        (stages.STAGES["batcher-cpu"], 40.0),
        (stages.STAGES["batcher-writing"], 30.0),
        (stages.REPLY, 90.0),
        (stages.OTHERS, 8.0),
    ]
    assert stages.cpu_by_thread(os.getpid())[stages.REPLY] > 0


def results_in(folder: Path) -> None:
    by_callers = {str(count): {name: one.numbers() for name, one in adapt_rounds(9.0).items()} for count in CALLERS}
    write_part(part_result(ADAPTS, COMMAND, all_figures()[:4], {"by_callers": by_callers}), folder)
    sides = {name: rounds(100.0).numbers() for name in ("empty", "uniform")}
    write_part(part_result(PREDICTS, COMMAND, [], {"tasks_made_per_second": 9, "1": sides, "64": sides}), folder)
    profile = {
        "per_second": 9.0,
        "cpu_us": {stages.REPLY: 90.0},
        "timing_ms": {"queue": 1.0, "compute": 2.0, "total": 4.0},
    }
    write_part(part_result(STAGES, COMMAND, [], {"adapt": profile}), folder)


def test_the_page_shows_what_was_measured_between_its_markers(tmp_path: Path) -> None:
    results_in(tmp_path)
    page = tmp_path / "speed.md"
    page.write_text(f"# Speed\n\n{BEGIN}\nold\n{END}\n\n## Limits\n", encoding="utf-8")
    write_measured(page, tmp_path)
    first = page.read_text(encoding="utf-8")
    assert first.startswith(f"# Speed\n\n{BEGIN}\n")
    assert first.endswith(f"{END}\n\n## Limits\n")
    assert "old" not in first
    for shown in ("| 64 | 6000 (1 ms) | 300 (1 ms) |", f"| {stages.REPLY} | 90 |", "| uniform | 100 (1 ms) |"):
        assert shown in first
    write_measured(page, tmp_path)
    assert page.read_text(encoding="utf-8") == first


def test_a_page_without_markers_is_refused(tmp_path: Path) -> None:
    page = tmp_path / "speed.md"
    page.write_text("# Speed\n", encoding="utf-8")
    with pytest.raises(ValueError, match="has no lines"):
        write_measured(page, tmp_path)


def test_the_committed_page_has_its_markers() -> None:
    text = speed.DOCS.read_text(encoding="utf-8")
    assert text.index(BEGIN) < text.index(END)


def test_equal_numbers_are_plotted_as_equal_bytes(tmp_path: Path) -> None:
    by_callers = {str(count): {name: one.numbers() for name, one in adapt_rounds(9.0).items()} for count in CALLERS}
    plots = [write_curve(tmp_path / name, by_callers).read_bytes() for name in ("a.svg", "b.svg")]
    assert plots[0] == plots[1]


def test_a_part_that_fails_does_not_stop_the_next(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(plan: Plan, command: str) -> tuple[list[Figure], dict[str, object]]:
        raise RuntimeError("no answer")

    monkeypatch.setattr(speed, "PARTS", {"first": fails, "second": lambda plan, command: (all_figures()[:1], {})})
    assert speed.run(["first", "second"], QUICK, tmp_path) == 1
    assert read_part("first", tmp_path) is None
    assert read_part("second", tmp_path) is not None


def test_a_part_that_is_none_is_a_usage_error() -> None:
    with pytest.raises(SystemExit):
        speed.main(["--only", "magic"])
