"""Seconds of the traffic that `tests/soak/hour.py` keeps up for an hour, and the arithmetic of its verdict."""

from pathlib import Path

import numpy as np
import pytest

from tests.soak.hour import Plan, Sample, figures, growth, numbers, soak
from tests.soak.hour_hostile import BAD_REQUESTS
from tests.soak.hour_plot import plot_soak
from tests.soak.hour_record import Record
from tests.soak.hour_statistics import slope

SHORT = Plan(
    seconds=6.0,
    sample_every_seconds=1.0,
    num_callers=3,
    pause_seconds=0.005,
    tasks_a_caller=30,
    job_every_seconds=30.0,
)


def test_seconds_of_mixed_traffic_are_answered_as_expected(tmp_path: Path) -> None:
    soaked = soak(tmp_path / "data", SHORT)
    assert soaked.record.complaints == []
    assert soaked.record.total("unexpected") == 0
    assert soaked.status == 0
    asked = {what for what, _, _ in soaked.record.answers}
    assert {"adapt", "predict", "predict deleted", "infer", "job"} <= asked
    assert asked & {f"bad: {bad.what}" for bad in BAD_REQUESTS}
    assert soaked.record.num_checked > 20
    assert len(soaked.samples) >= 3
    assert all((sample["rss_mib"] or 0) > 50 and (sample["num_files"] or 0) > 5 for sample in soaked.samples)
    plot_soak(soaked.samples, growth(soaked.samples, "rss_mib"), 0.25, 5.0, tmp_path / "soak.svg")
    assert "MiB an hour" in (tmp_path / "soak.svg").read_text()
    assert {figure.what: figure.met for figure in figures(soaked, "soak")}["answers not as expected"]
    assert len(numbers(soaked, SHORT)["samples"]["seconds"]) == len(soaked.samples)


def test_the_slope_of_a_straight_line_is_its_own_an_hour() -> None:
    seconds = np.arange(0.0, 3600.0, 10.0)
    found = slope(seconds.tolist(), (400.0 + 12.0 * seconds / 3600.0).tolist())
    assert (found.per_hour, found.low, found.high) == pytest.approx((12.0, 12.0, 12.0))
    assert (found.first, found.last) == pytest.approx((400.0, 400.0 + 12.0 * 3590 / 3600))


def test_the_interval_of_a_slope_holds_the_truth_as_often_as_it_says() -> None:
    rng = np.random.default_rng(0)
    seconds = np.arange(0.0, 2700.0, 10.0)
    held = 0
    for _ in range(200):
        found = slope(seconds.tolist(), (5.0 * seconds / 3600.0 + rng.normal(0.0, 3.0, len(seconds))).tolist())
        held += found.low <= 5.0 <= found.high
    assert 180 <= held <= 199


def test_the_interval_minds_that_neighbours_are_alike() -> None:
    rng = np.random.default_rng(1)
    seconds = np.arange(0.0, 2700.0, 10.0)
    held = 0
    for _ in range(200):
        wandering = np.zeros(len(seconds))
        for i, shock in enumerate(rng.normal(0.0, 1.0, len(seconds))):
            wandering[i] = 0.8 * wandering[i - 1] + shock
        found = slope(seconds.tolist(), wandering.tolist())
        held += found.low <= 0.0 <= found.high
    assert held >= 175  # as if each sample were independent, some 120


@pytest.mark.parametrize(("seconds", "values"), [([0.0, 1.0], [1.0, 1.0]), ([0.0] * 3, [1.0] * 3), ([0.0], [])])
def test_a_slope_of_nothing_is_an_error(seconds: list[float], values: list[float]) -> None:
    with pytest.raises(ValueError, match="moments"):
        slope(seconds, values)


def test_the_first_quarter_does_not_count_as_growth() -> None:
    samples: list[Sample] = [{"seconds": float(at), "rss_mib": min(400.0, 100.0 + 20.0 * at)} for at in range(1, 61)]
    assert growth(samples, "rss_mib").per_hour == pytest.approx(0.0, abs=1e-6)


def test_a_record_tells_a_window_once_and_its_totals_for_ever() -> None:
    record = Record()
    record.note("adapt", "201", "expected", 0.002)
    record.note("adapt", "503", "refused")
    record.check("predict", holds=False, text="2 where 1 was told")
    window = record.window()
    assert (window.num_requests, window.num_refused, window.num_unexpected) == (3, 1, 1)
    assert (window.adapt_p50_ms, window.predict_p50_ms) == (2.0, None)
    assert record.window().num_requests == 0
    assert record.total("unexpected") == 1
    assert record.complaints == ["predict: 2 where 1 was told"]
