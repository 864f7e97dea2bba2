"""Claims about the commands that have to do with stored rows."""

import json
from pathlib import Path

import pytest

from tests.innerloop.test_cli import ADAPTED, SUPPORT, Service, run


@pytest.mark.parametrize("named", [True, False])
def test_rows_are_kept_unless_it_is_said_otherwise(named: bool) -> None:
    service = Service({**ADAPTED, "support_stored": not named}, 201)
    result = run(service, "adapt", "-", *["--no-store-support"] * named, stdin=json.dumps(SUPPORT))
    assert result.exit_code == 0, result.output
    assert service.bodies[0].get("store_support", "not named") == (False if named else "not named")
    assert ("2, not stored" in result.stdout) == named


def test_support_is_saved_as_adapt_reads_it(tmp_path: Path) -> None:
    fields = {"task_id": "a", "revision": 2, "model": "sinusoid", "model_version": 1, "classes": None}
    service = Service({**fields, "support": SUPPORT})
    out = tmp_path / "rows.json"
    result = run(service, "tasks", "support", "a", "--revision", "2", "--out", out)
    assert result.exit_code == 0, result.output
    assert service.lines == ["GET /tasks/a/support?revision=2"]
    again = Service(ADAPTED, 201)
    assert run(again, "adapt", out).exit_code == 0
    assert again.bodies[0]["support"] == SUPPORT


def test_a_row_is_taken_out() -> None:
    service = Service(ADAPTED)
    result = run(service, "tasks", "remove-row", "pets", "3", "--if-revision", "2")
    assert result.exit_code == 0, result.output
    assert service.lines == ["DELETE /tasks/pets/support/3?if_revision=2"]
    assert "omniglot@2" in result.stdout
