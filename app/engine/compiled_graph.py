"""A function of many tasks as one flat graph whose number of tasks is free."""

import operator
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch._dispatch.python import enable_python_dispatcher
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode
from torch.fx import GraphModule, Node
from torch.fx.experimental.proxy_tensor import make_fx
from torch.fx.experimental.symbolic_shapes import DimDynamic, ShapeEnv, StatelessSymbolicContext
from torch.nn import functional

from app.engine.batch_sizes import MOST_TASKS

FIRST, SECOND = 11, 13
"""Numbers of tasks that are traced; any two would do."""
MOST_FACTORED = 32
"""Rows of a matrix whose factoring is written out."""
MOST_TRIED = 32


class NotTraceable(Exception):
    """A function that cannot become a graph for any number of tasks, with the reason."""


def free_graph(
    function: Callable[..., list[Tensor]], leaves: Sequence[Tensor], inputs_of: Callable[[int], Sequence[Tensor]]
) -> tuple[GraphModule, list[FakeTensor], ShapeEnv]:
    """Return `function(*leaves, *inputs)` as a graph, with the inputs to compile it with and what is assumed of them.

    The batching rules of vmap write the number of tasks into a graph as a number. So it is traced with two numbers of
    tasks; wherever the graphs differ stands a number that depends on it, which becomes a number computed from the
    first input's length. NotTraceable where they differ in anything else.
    """
    first, second = (_traced(function, [*leaves, *inputs_of(tasks)]) for tasks in (FIRST, SECOND))
    graph = _merged(first, second, len(leaves))
    shapes = ShapeEnv()
    mode = FakeTensorMode(shape_env=shapes, allow_non_fake_inputs=True)
    fakes = [_fake(mode, leaf, free=False) for leaf in leaves]
    fakes += [_fake(mode, leaf, free=True) for leaf in inputs_of(FIRST)]
    with torch.no_grad(), enable_python_dispatcher(), mode:
        return make_fx(graph, STANDINS)(*fakes), fakes, shapes


def numbers_to_try(fakes: Sequence[FakeTensor], shapes: ShapeEnv) -> list[int]:
    """Return the numbers of tasks for which something was assumed that does not hold, after a graph was compiled.

    A compiler that chooses between two ways by size assumes that size for good; the way that it took is right for other
    sizes too, which is to be shown by trying them. NotTraceable if there are more than a few.
    """
    size: object = fakes[-1].shape[0]
    symbol = size.node.expr if isinstance(size, torch.SymInt) else None
    if symbol is None or symbol in shapes.replacements:
        raise NotTraceable("the number of tasks is written into the program")
    assumed = [guard.expr for guard in shapes.guards]
    found = [
        num_tasks
        for num_tasks in range(1, MOST_TASKS + 1)
        if any(condition.subs({symbol: num_tasks}) != True for condition in assumed)  # noqa: E712 -- symbolic
    ]
    if len(found) > MOST_TRIED:
        raise NotTraceable(f"the program assumes of its number of tasks: {assumed}")
    return found


def _count_up(end: Any, *, dtype: torch.dtype | None = None, device: torch.device | None = None, **_: Any) -> Any:
    """Stand in for `arange`, which would take the number of tasks for one that is known."""
    if not isinstance(end, int | torch.SymInt) or dtype not in (None, torch.int64):
        return NotImplemented
    there = device or torch.device("cpu")
    return torch.ops.prims.iota.default(end, start=0, step=1, dtype=torch.int64, device=there, requires_grad=False)


def _factored(matrix: Tensor, *, upper: bool = False, check_errors: bool = False) -> Any:
    """Stand in for `cholesky_ex`, which compiled programs cannot call: written out, column by column.

    Of a matrix that is not positive definite the factor is NaN from there on.
    """
    size = matrix.shape[-1]
    if upper or not isinstance(size, int) or size > MOST_FACTORED:
        return NotImplemented
    rest, columns = matrix, []
    for place in range(size):
        column = rest[..., :1] / rest[..., :1, :1].sqrt()
        columns.append(functional.pad(column, (0, 0, place, 0)))
        rest = rest[..., 1:, 1:] - column[..., 1:, :] * column[..., 1:, :].mT
    return torch.cat(columns, dim=-1), torch.zeros_like(matrix[..., 0, 0], dtype=torch.int32)


STANDINS: Mapping[Any, Callable[..., Any]] = {
    torch.ops.aten.arange.default: _count_up,
    torch.ops.aten.linalg_cholesky_ex.default: _factored,
}


def _traced(function: Callable[..., list[Tensor]], tensors: Sequence[Tensor]) -> GraphModule:
    mode = FakeTensorMode(allow_non_fake_inputs=True)
    fakes = [mode.from_tensor(tensor) for tensor in tensors]
    with torch.no_grad(), mode:
        return make_fx(function)(*fakes)


def _fake(mode: FakeTensorMode, tensor: Tensor, *, free: bool) -> FakeTensor:
    dims = [DimDynamic.STATIC] * tensor.ndim
    if free:
        dims[0] = DimDynamic.DUCK  # equal lengths are one symbol
    return mode.from_tensor(tensor, symbolic_context=StatelessSymbolicContext(dynamic_sizes=dims))


def _merged(first: GraphModule, second: GraphModule, tasks_input: int) -> GraphModule:
    """Return `first` with each number that differs in `second` computed from the length of an input."""
    nodes, others = list(first.graph.nodes), list(second.graph.nodes)
    if len(nodes) != len(others):
        raise NotTraceable("what is computed depends on the number of tasks")
    merging = _Merging(first, second, dict(zip(nodes, others, strict=True)), tasks_input)
    for node, other in merging.pairs.items():
        merging.check(node, other)
        node.args = tuple(merging.merged(node.args, other.args))
        node.kwargs = merging.merged(node.kwargs, other.kwargs)
    first.recompile()
    return first


class _Merging:
    def __init__(self, first: GraphModule, second: GraphModule, pairs: dict[Node, Node], tasks_input: int) -> None:
        self.pairs = pairs
        self._first, self._second = first, second
        inputs = [node for node in pairs if node.op == "placeholder"]
        with first.graph.inserting_after(inputs[-1]):
            self._tasks = first.graph.call_function(torch.ops.aten.sym_size.int, (inputs[tasks_input], 0))
        self._last = self._tasks
        self._numbers: dict[tuple[int, int], Node] = {}

    def check(self, node: Node, other: Node) -> None:
        """Raise NotTraceable unless both nodes compute the same."""
        if node.op != other.op or (node.op == "call_function" and node.target != other.target):
            raise NotTraceable("what is computed depends on the number of tasks")
        if node.op == "get_attr":
            constants = (
                getattr(graph, str(each.target)) for graph, each in ((self._first, node), (self._second, other))
            )
            if not torch.equal(*constants):
                raise NotTraceable("a constant depends on the number of tasks")

    def merged(self, value: Any, other: Any) -> Any:
        """Return an argument for any number of tasks."""
        if isinstance(value, Node):
            if self.pairs[value] is not other:
                raise NotTraceable("what is computed depends on the number of tasks")
            return value
        if isinstance(value, list | tuple) and len(value) == len(other):
            return [self.merged(*pair) for pair in zip(value, other, strict=True)]
        if isinstance(value, dict):
            return {name: self.merged(part, other[name]) for name, part in value.items()}
        if type(value) is int and type(other) is int and value != other:
            return self._number(value, other)
        if type(value) is not type(other) or repr(value) != repr(other):
            raise NotTraceable(f"{value!r} becomes {other!r} with more tasks")
        return value

    def _number(self, value: int, other: int) -> Node:
        """Return the node of a * tasks + b that is `value` for the first number of tasks and `other` for the second."""
        factor, rest = divmod(other - value, SECOND - FIRST)
        if rest:
            raise NotTraceable(f"{value} becomes {other} with more tasks")
        line = (factor, value - factor * FIRST)
        if line not in self._numbers:
            product = self._tasks if line[0] == 1 else self._call(operator.mul, self._tasks, line[0])
            self._numbers[line] = self._call(operator.add, product, line[1]) if line[1] else product
        return self._numbers[line]

    def _call(self, function: Callable[..., int], *args: Any) -> Node:
        with self._first.graph.inserting_after(self._last):
            self._last = self._first.graph.call_function(function, args)
        return self._last
