"""Half of all callers hang up in the middle of batches: a few seconds of the long run."""

from pathlib import Path

from tests.soak.load_dropped import AFTERWARDS, dropped

SECONDS = 3.0


def test_callers_that_hang_up_in_the_middle_of_batches_harm_nobody_then_or_later(tmp_path: Path) -> None:
    found = dropped(tmp_path / "data", SECONDS)
    assert found.findings == []
    assert found.counts["callers that hung up"] > 0
    assert found.counts["answers to callers that stayed"] > AFTERWARDS
    assert found.counts["right answers to the hundred afterwards"] == AFTERWARDS
