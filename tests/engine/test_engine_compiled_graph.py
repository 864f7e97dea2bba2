"""A function of tasks becomes one graph for any number of them, whatever the learner."""

from collections.abc import Callable, Sequence

import pytest
import torch
from torch import Tensor

from app.engine.compiled_check import made_up
from app.engine.compiled_graph import MOST_FACTORED, NotTraceable, free_graph, numbers_to_try
from app.engine.compiled_spec import function_of, inputs_of, leaves_of
from tests.engine.compiled_models import LEARNERS, model_of, spec_of

CASES = [
    *((name, "adapt") for name in LEARNERS),
    *((name, "estimate") for name in ("maml of numbers", "maml", "ridge")),
    *((name, "predict") for name in ("maml", "matching")),
]
FACTORING = ("kernel", "ridge", "ridge of numbers")
"""Learners that factor a matrix: written out, that rounds otherwise."""


@pytest.mark.parametrize(("name", "work"), CASES)
def test_graph_gives_for_any_number_of_tasks_what_the_eager_path_gives(name: str, work: str) -> None:
    model = model_of(name)
    spec = spec_of(model, work)
    function, leaves = function_of(spec, model), leaves_of(spec.architecture, model.meta)
    graph, fakes, shapes = free_graph(
        function, leaves, lambda num_tasks: [kind.empty(num_tasks) for kind in inputs_of(spec)]
    )
    assert numbers_to_try(fakes, shapes) == []
    for num_tasks in (1, 2, 5, 40):
        inputs_T = made_up(spec, num_tasks)
        with torch.no_grad():
            for got, want in zip(graph(*leaves, *inputs_T), function(*leaves, *inputs_T), strict=True):
                if name in FACTORING:
                    torch.testing.assert_close(got, want, rtol=1e-5, atol=1e-6, equal_nan=True)
                else:
                    assert torch.equal(got.nan_to_num(), want.nan_to_num())


def test_weights_are_inputs() -> None:
    spec = spec_of(model_of("maml"), "adapt")
    models = [model_of("maml", seed) for seed in (0, 1)]
    kinds = inputs_of(spec)
    graph, *_ = free_graph(
        function_of(spec, models[0]),
        leaves_of(spec.architecture, models[0].meta),
        lambda num_tasks: [kind.empty(num_tasks) for kind in kinds],
    )
    inputs_T = made_up(spec, 3)
    leaves = leaves_of(spec.architecture, models[1].meta)
    with torch.no_grad():
        wanted = function_of(spec, models[1])(*leaves, *inputs_T)
        assert all(map(torch.equal, graph(*leaves, *inputs_T), wanted))


@pytest.mark.parametrize(("size", "written_out"), [(1, True), (MOST_FACTORED, True), (MOST_FACTORED + 1, False)])
def test_a_factoring_is_written_out_up_to_a_size(size: int, written_out: bool) -> None:
    def factors(x_TKK: Tensor) -> list[Tensor]:
        definite_TKK = x_TKK @ x_TKK.mT + torch.eye(size, dtype=x_TKK.dtype)
        return [torch.linalg.cholesky_ex(definite_TKK)[0]]

    def inputs_of(num_tasks: int) -> Sequence[Tensor]:
        return [torch.randn(num_tasks, size, size, dtype=torch.float64, generator=torch.Generator().manual_seed(0))]

    graph, *_ = free_graph(factors, [], inputs_of)
    assert any("cholesky" in str(node.target) for node in graph.graph.nodes) != written_out
    (found,), (wanted,) = graph(*inputs_of(3)), factors(*inputs_of(3))
    torch.testing.assert_close(found, wanted, rtol=1e-12, atol=1e-12)


def one_by_one(x_T: Tensor) -> list[Tensor]:
    return [torch.stack([x_T[i] * 2 for i in range(len(x_T))])]


def by_parity(x_T: Tensor) -> list[Tensor]:
    return [x_T * (2.5 if len(x_T) == 11 else 3.5)]


@pytest.mark.parametrize("function", [one_by_one, by_parity])
def test_what_depends_on_the_number_of_tasks_is_refused(function: Callable[[Tensor], list[Tensor]]) -> None:
    with pytest.raises(NotTraceable):
        free_graph(function, [], lambda num_tasks: [torch.zeros(num_tasks, 3)])


def test_a_line_through_two_numbers_of_tasks_is_taken_for_what_it_is() -> None:
    def grown(x_T: Tensor) -> list[Tensor]:
        return [x_T.new_ones(3 * len(x_T) + 2)]

    def inputs_of(num_tasks: int) -> Sequence[Tensor]:
        return [torch.zeros(num_tasks, 3)]

    graph, *_ = free_graph(grown, [], inputs_of)
    assert [len(graph(*inputs_of(num_tasks))[0]) for num_tasks in (1, 7)] == [5, 23]
