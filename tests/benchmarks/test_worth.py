"""What the figures on `estimate` and `familiarity` are made of."""

from pathlib import Path

import pytest
import torch

from app.episode import Support
from benchmarks.foreign import FOREIGN, Foreign
from benchmarks.worth import auc, correlation, main
from benchmarks.worth_plots import plot_estimates, plot_familiarity

SHAPES = {"image": (1, 12, 12), "text": (16,), "sinusoid": (1,), "vector": (4,)}
ALL = [(kind, name) for kind, changes in FOREIGN.items() for name in changes]


@pytest.mark.parametrize(
    ("held_out", "foreign", "expected"),
    [([0.1, 0.2], [0.8, 0.9], 1.0), ([0.8, 0.9], [0.1, 0.2], 0.0), ([0.5], [0.5], 0.5), ([0.1, 0.5], [0.3], 0.5)],
)
def test_auc_is_how_often_a_foreign_task_has_the_larger_share(
    held_out: list[float], foreign: list[float], expected: float
) -> None:
    assert auc(held_out, foreign) == expected


def test_correlation_of_errors_is_that_of_their_logarithms() -> None:
    assert correlation([(1.0, 10.0), (10.0, 100.0), (100.0, 1000.0)], in_logs=True) == pytest.approx(1.0)
    assert correlation([(0.1, 0.9), (0.2, 0.8), (0.3, 0.7)], in_logs=False) == pytest.approx(-1.0)


def task(kind: str) -> Support:
    generator = torch.Generator().manual_seed(0)
    inputs = torch.rand(12, *SHAPES[kind], generator=generator)
    mask, classes = torch.ones(12, dtype=torch.bool), torch.ones(3, dtype=torch.bool)
    if kind == "sinusoid":
        return Support(inputs, torch.rand(12, 1, generator=generator), mask, classes[:0])
    return Support(inputs, torch.arange(12) % 3, mask, classes)


@pytest.mark.parametrize(("kind", "name"), ALL)
def test_foreign_task_is_another_of_the_same_shape_and_depends_on_the_generator_alone(kind: str, name: str) -> None:
    change: Foreign = FOREIGN[kind][name]
    before = task(kind)
    found, again = (change(task(kind), torch.Generator().manual_seed(1)) for _ in range(2))
    assert [(leaf.shape, leaf.dtype) for leaf in found] == [(leaf.shape, leaf.dtype) for leaf in before]
    assert all(torch.equal(one, other) for one, other in zip(found, again, strict=True))
    assert not all(torch.equal(one, other) for one, other in zip(found, before, strict=True))
    assert all(torch.isfinite(leaf).all() for leaf in found[:2])


def test_plots_of_equal_figures_are_equal_files(tmp_path: Path) -> None:
    for folder in (tmp_path / "one", tmp_path / "two"):
        folder.mkdir()
        plot_estimates([("a", [(0.5, 0.6), (0.9, 0.8)], False), ("b", [(0.1, 2.0)], True)], folder / "estimate.svg")
        plot_familiarity([("a", {"held out": [0.1, 0.5], "noise": [1.0], "none": []})], folder / "familiarity.svg")
    for name in ("estimate.svg", "familiarity.svg"):
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()


def test_folder_without_models_is_an_empty_page(tmp_path: Path) -> None:
    main(["--models", str(tmp_path), "--out", str(tmp_path / "out")])
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"WORTH.md", "estimate.svg", "familiarity.svg"}
