"""Compiled paths for hot sizes: made in the background while the eager path serves, kept in a folder of programs."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple
from weakref import WeakKeyDictionary

import torch
from torch import Tensor
from torch.nn import functional

from app.engine.batch_sizes import MOST_TASKS
from app.engine.buckets import Shapes, padded_length, shapes_of
from app.engine.compiled_maker import CompileCounters, Place, ProgramMaker, Ready
from app.engine.compiled_spec import (
    Architecture,
    Sizes,
    Spec,
    architecture_of,
    kinds_of_layout,
    leaves_of,
)
from app.engine.executor import AdaptedTasks
from app.engine.packed import Layout, rows_of
from app.episode import Support
from app.learners.learner import Metrics
from app.learners.model import Model
from app.programs.folder import ProgramFolder
from app.programs.process import Compile
from app.programs.shared_library import ProgramFailed

MOST_PLACES = 1_000
"""Sizes that are counted; what is cold is then forgotten."""


class _Known(NamedTuple):
    """A model as far as its programs go."""

    number: int
    """The same for models of one architecture."""
    architecture: Architecture
    shapes: Shapes


class CompiledPaths:
    """The faster ways of the executor and the estimate, where they have been compiled; None from them where not.

    They run on the device's thread. A size is hot after `hot_batches` batches or `hot_tasks` tasks; `compile_with` None
    compiles nothing, and serves what the folder has.
    """

    def __init__(
        self,
        folder: ProgramFolder,
        *,
        threads: int = 1,
        hot_batches: int = 100,
        hot_tasks: int = 1_000,
        compile_with: Compile | None = None,
    ) -> None:
        self._threads = threads
        self._hot_batches, self._hot_tasks = hot_batches, hot_tasks
        self._known: WeakKeyDictionary[Callable[..., Any], _Known] = WeakKeyDictionary()
        self._numbers: dict[str, int] = {}  # by architecture
        self._places: dict[tuple[int, Sizes], Place] = {}
        self._maker = ProgramMaker(folder, threads, compile_with)

    @property
    def counters(self) -> CompileCounters:
        """What has become of programs."""
        return self._maker.counters

    @property
    def idle(self) -> bool:
        """Whether nothing is being compiled or waits for it."""
        return self._maker.idle

    def adapt(self, model: Model, support_T: Support, rates_T: Tensor, steps: int) -> AdaptedTasks | None:
        """See executor.AdaptTasks."""
        rows = self._rows(model, support_T)
        sizes = Sizes("adapt", steps, rows, support_T.class_mask.shape[1])
        done = self._run(model, sizes, len(rates_T), lambda: [*_with_rows(support_T, rows), rates_T])
        if done is None:
            return None
        (*columns, losses_TK, finite_T), ready = done
        assert ready.layout is not None
        return AdaptedTasks(ready.layout, rows_of(columns, len(rates_T)), losses_TK, finite_T)

    def estimate(
        self, model: Model, steps: int, support_T: Support, rates_T: Tensor, rows_TKM: Tensor, counts_TKM: Tensor
    ) -> Metrics | None:
        """See estimate.EstimateTasks."""
        rows = self._rows(model, support_T)
        sizes = Sizes("estimate", steps, rows, support_T.class_mask.shape[1], *rows_TKM.shape[1:])
        folds = [rates_T, rows_TKM, counts_TKM]
        done = self._run(model, sizes, len(rates_T), lambda: [*_with_rows(support_T, rows), *folds])
        return None if done is None else dict(zip(done[1].names, done[0][0].unbind(1), strict=True))

    def predict(self, model: Model, layout: Layout, rows_TB: Tensor, inputs_TQ: Tensor) -> Tensor | None:
        """See executor.PredictTasks."""
        num_rows = inputs_TQ.shape[1]
        rows = padded_length(num_rows)
        sizes = Sizes("predict", rows=rows, leaves=kinds_of_layout(layout))
        inputs = lambda: [*_columns(layout, rows_TB), _lengthened(inputs_TQ, rows)]  # noqa: E731
        done = self._run(model, sizes, len(inputs_TQ), inputs)
        return None if done is None else done[0][0][:, :num_rows]

    def load(self, model: Model, shapes: Shapes) -> int:
        """Load what the folder has for a model, and return how many programs that is; blocks."""
        known = self._knows(model, shapes)
        wanted = known.architecture.model_dump_json()
        specs = [spec for spec in self._maker.specs() if spec.architecture.model_dump_json() == wanted]
        return sum(self._maker.load(self._place(known, spec.sizes), model) for spec in specs)

    def close(self) -> None:
        """Stop compiling, at once; blocks until nothing runs any more."""
        self._maker.close()

    def _run(
        self, model: Model, sizes: Sizes, num_tasks: int, inputs: Callable[[], Sequence[Tensor]]
    ) -> tuple[list[Tensor], Ready] | None:
        known = self._knows(model)
        place = self._place(known, sizes)
        ready = place.ready
        if ready is None:
            self._note(place, model, num_tasks)
        if ready is None or num_tasks > MOST_TASKS:
            return None
        try:
            outputs = ready.program(leaves_of(known.architecture, model.meta), inputs())
        except ValueError:  # tensors of another kind: the eager path says what is wrong with them, if anything is
            return None
        except ProgramFailed as error:
            self._maker.refuse(place, error)
            return None
        self.counters.runs += 1
        return outputs, ready

    def _note(self, place: Place, model: Model, num_tasks: int) -> None:
        """Count a batch that the eager path runs; ask for a program where there may be one."""
        if not place.begun:
            place.begun = self._maker.ask(place, model, compiling=False)
        if place.settled or not self._maker.compiles:
            return
        place.batches += 1
        place.tasks += num_tasks
        if place.batches >= self._hot_batches or place.tasks >= self._hot_tasks:
            place.settled = self._maker.ask(place, model, compiling=True)

    def _place(self, known: _Known, sizes: Sizes) -> Place:
        place = self._places.get((known.number, sizes))
        if place is None:
            if len(self._places) >= MOST_PLACES:
                self._places = {key: each for key, each in self._places.items() if each.ready is not None}
            spec = Spec(architecture=known.architecture, sizes=sizes, threads=self._threads)
            place = self._places.setdefault((known.number, sizes), Place(spec))
        return place

    def _rows(self, model: Model, support_T: Support) -> int:
        rows = support_T.inputs.shape[1]
        return rows if self._knows(model).shapes.by_rows else padded_length(rows)

    def _knows(self, model: Model, shapes: Shapes | None = None) -> _Known:
        known = self._known.get(model.learner.adapt)
        if known is None:
            architecture = architecture_of(model)
            number = self._numbers.setdefault(architecture.model_dump_json(), len(self._numbers))
            known = self._known[model.learner.adapt] = _Known(number, architecture, shapes or shapes_of(model))
        return known


def _with_rows(support_T: Support, rows: int) -> list[Tensor]:
    inputs_TS, targets_TS, row_mask_TS, class_mask_TN = support_T
    return [*(_lengthened(leaf, rows) for leaf in (inputs_TS, targets_TS, row_mask_TS)), class_mask_TN]


def _lengthened(leaf_TR: Tensor, rows: int) -> Tensor:
    missing = rows - leaf_TR.shape[1]
    return functional.pad(leaf_TR, (*[0] * 2 * (leaf_TR.ndim - 2), 0, missing)) if missing else leaf_TR


def _columns(layout: Layout, rows_TB: Tensor) -> list[Tensor]:
    """Return the numbers of tasks' bytes, one tensor a dtype, as `columns_of` has them."""
    bounds: dict[torch.dtype, tuple[int, int]] = {}
    for leaf in layout.leaves:
        bounds[leaf.dtype] = (bounds.get(leaf.dtype, (leaf.begin, 0))[0], leaf.end)
    if len(rows_TB) == 1:  # whose stride may be anything
        return [rows_TB[0, begin:end].view(dtype)[None] for dtype, (begin, end) in bounds.items()]
    return [rows_TB[:, begin:end].contiguous().view(dtype) for dtype, (begin, end) in bounds.items()]
