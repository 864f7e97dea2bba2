"""Ids that are made here: distinct, in the order of time, and of the form that the contract gives them."""

import re
import time
from uuid import UUID

from app.api.new_ids import new_task_id


def test_ids_differ_and_are_uuids_of_version_7() -> None:
    made = [new_task_id() for _ in range(10_000)]
    assert len({*made}) == len(made)
    assert all(re.fullmatch("[0-9a-f]{32}", one) for one in made)
    assert {(UUID(one).version, UUID(one).variant) for one in made[:100]} == {(7, UUID(made[0]).variant)}
    assert "RFC 4122" in UUID(made[0]).variant


def test_later_ids_are_larger() -> None:
    first = new_task_id()
    time.sleep(0.002)
    assert new_task_id() > first
