"""A program is found by what it computes and by all that its machine code depends on."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from app.programs import surroundings
from app.programs.surroundings import key_of


@pytest.fixture(autouse=True)
def _nothing_is_remembered() -> Iterator[None]:
    surroundings.surroundings.cache_clear()
    yield
    surroundings.surroundings.cache_clear()


def test_a_key_is_the_same_each_time_and_of_its_specification() -> None:
    keys = [key_of(spec) for spec in ("{}", "{}", '{"threads": 2}')]
    assert keys[0] == keys[1] != keys[2]


def test_another_torch_or_processor_has_other_programs(monkeypatch: pytest.MonkeyPatch) -> None:
    keys = {key_of("{}")}
    for owner, name, value in ((torch, "__version__", "0"), (torch.backends.cpu, "get_cpu_capability", lambda: "new")):
        monkeypatch.setattr(owner, name, value)
        surroundings.surroundings.cache_clear()
        keys.add(key_of("{}"))
    assert len(keys) == 3


def test_a_change_of_a_source_makes_other_programs(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(surroundings, "APP", tmp_path)
    found = []
    for content in ("x = 1", "x = 2"):
        (tmp_path / "card.py").write_text(content)
        surroundings.surroundings.cache_clear()
        found.append(key_of("{}"))
    (tmp_path / "more.py").write_text("")
    assert key_of("{}", "more.py") == found[1] != found[0]
    (tmp_path / "more.py").write_text("y = 1")
    surroundings.surroundings.cache_clear()
    assert key_of("{}", "more.py") != key_of("{}") == found[1]


@pytest.mark.parametrize("pattern", surroundings.SOURCES)
def test_the_sources_are_there(pattern: str) -> None:
    assert list(surroundings.APP.glob(pattern))
