"""Programs made in the background: found in the folder or compiled, compared with the eager path, then offered."""

import contextlib
import queue
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import structlog
import torch

from app.engine.compiled_check import check, loaded
from app.engine.compiled_program import Program
from app.engine.compiled_spec import Spec, layout_of, names_of
from app.engine.packed import Layout
from app.learners.model import Model
from app.programs.folder import ProgramFolder
from app.programs.process import CannotCompile, Compile
from app.programs.shared_library import ProgramFailed

log = structlog.get_logger()

MOST_WAITING = 32
"""Programs that wait for the compiler; hotter ones come again."""


@dataclass(slots=True)
class CompileCounters:
    """What has become of programs since the start."""

    compiled: int = 0
    loaded: int = 0
    """That were taken from the folder, whoever compiled them, and stood the comparison."""
    refused: int = 0
    """That could not be made, or did not do what the eager path does."""
    runs: int = 0
    """Batches that programs ran."""


class Ready(NamedTuple):
    """A program that does what the eager path does."""

    program: Program
    layout: Layout | None
    """Of what `adapt` makes."""
    names: tuple[str, ...]
    """Of the metrics of `estimate`."""


@dataclass(slots=True)
class Place:
    """What is known of a program that there is or may be."""

    spec: Spec
    ready: Ready | None = None
    batches: int = 0
    tasks: int = 0
    begun: bool = False
    """The folder was asked for it, or will be."""
    settled: bool = False
    """It waits for the compiler, or is there, or will never be."""


class ProgramMaker:
    """One thread and at most one compiling child; `compile_with` None takes programs from the folder alone."""

    def __init__(self, folder: ProgramFolder, threads: int, compile_with: Compile | None) -> None:
        self._folder, self._threads, self._compile_with = folder, threads, compile_with
        self._jobs: queue.Queue[tuple[Place, Model, bool] | None] = queue.Queue(MOST_WAITING)
        self._closing = threading.Event()
        self._offering = threading.Lock()
        self.counters = CompileCounters()
        self._thread = threading.Thread(target=self._work, name="compiled-paths", daemon=True)
        self._thread.start()

    @property
    def compiles(self) -> bool:
        """Whether it compiles what the folder lacks."""
        return self._compile_with is not None

    @property
    def idle(self) -> bool:
        """Whether nothing is being made or waits for it."""
        return not self._jobs.unfinished_tasks

    def ask(self, place: Place, model: Model, *, compiling: bool) -> bool:
        """Have a program looked for in the folder, and compiled if it is not there; False when too much waits."""
        try:
            self._jobs.put_nowait((place, model, compiling))
        except queue.Full:
            return False
        return True

    def specs(self) -> list[Spec]:
        """Return what the folder has for this machine and this release."""
        found = []
        for key, spec_json in self._folder.specs().items():
            with contextlib.suppress(ValueError):  # of another release
                spec = Spec.model_validate_json(spec_json)
                if spec.key() == key and spec.threads == self._threads:
                    found.append(spec)
        return found

    def load(self, place: Place, model: Model) -> bool:
        """Offer a program of the folder, and tell whether there is one; blocks while it is compared."""
        with self._offering:
            if place.ready is not None:
                return True
            path = self._folder.find(place.spec.key())
            if path is None:
                return False
            place.begun = place.settled = True
            try:
                place.ready = _compared(path, place.spec, model)
            except ProgramFailed as error:
                self.refuse(place, error)
                return False
            self.counters.loaded += 1
            return True

    def refuse(self, place: Place, error: Exception) -> None:
        """Have a place served eagerly from now on."""
        place.ready, place.settled = None, True
        self.counters.refused += 1
        self._folder.drop(place.spec.key())
        log.warning("served eagerly: a compiled program is not to be had", reason=str(error), **_about(place))

    def close(self) -> None:
        """Stop at once, killing what compiles; blocks until nothing runs any more."""
        self._closing.set()
        with contextlib.suppress(queue.Full):  # then the thread sees for itself
            self._jobs.put_nowait(None)
        self._thread.join()

    def _work(self) -> None:
        torch.set_num_threads(self._threads)
        while not self._closing.is_set():
            job = self._jobs.get()
            try:
                if job is not None:
                    self._make(*job)
            except Exception as error:
                log.error("a compiled program was not made", exc_info=error)
            finally:
                self._jobs.task_done()

    def _make(self, place: Place, model: Model, compiling: bool) -> None:
        if self.load(place, model) or not compiling or self._compile_with is None:
            return
        try:
            self._compile(place.spec, self._compile_with)
        except (CannotCompile, OSError) as error:
            if not self._closing.is_set():
                self.refuse(place, error)
            return
        self.load(place, model)

    def _compile(self, spec: Spec, compile_with: Compile) -> None:
        key, spec_json = spec.key(), spec.model_dump_json().encode()
        if self._folder.fill(key, spec_json, compile_with, self._closing.is_set):
            self.counters.compiled += 1
            log.info("compiled a program", key=key)


def _compared(path: Path, spec: Spec, model: Model) -> Ready:
    """Return a program that stood the comparison; ProgramFailed for one that did not."""
    program = loaded(path, spec)
    check(program, spec, model)
    work = spec.sizes.work
    return Ready(
        program,
        layout_of(spec, model) if work == "adapt" else None,
        names_of(spec, model) if work == "estimate" else (),
    )


def _about(place: Place) -> dict[str, object]:
    sizes = place.spec.sizes
    kind = place.spec.architecture.card.learner.get("kind")
    return {"learner": kind, **{name: value for name, value in sizes._asdict().items() if value and name != "leaves"}}
