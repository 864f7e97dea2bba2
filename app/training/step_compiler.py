"""Compiling meta-steps in the background: a child process for each, and a folder of what they made."""

import threading
from collections.abc import Callable
from pathlib import Path

import torch

from app.card import Card
from app.episode import Episode, MetaParams
from app.programs.folder import ProgramFolder
from app.programs.process import CannotCompile, has_compiler
from app.programs.shared_library import Library, ProgramFailed
from app.training.portions import parts, threaded_size
from app.training.step_child import compile_in_child
from app.training.step_program import CompiledStep
from app.training.step_spec import StepSpec, examples_of, spec_of


class NotCompiled(Exception):
    """A step has no compiled form here, with the reason."""


class Compiling:
    """One step on its way to being compiled."""

    def __init__(self, spec: StepSpec, folder: Path, threads: int) -> None:
        self._spec, self._folder, self._threads = spec, folder, threads
        self._library: Path | None = None
        self._reason = "its compiling failed"
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._work, name="step-compiler", daemon=True)
        self._thread.start()

    def result(self, timeout_seconds: float) -> CompiledStep | None:
        """Return the compiled step, None when it is not there within so long; NotCompiled when it never will be."""
        self._thread.join(timeout_seconds)
        if self._thread.is_alive():
            return None
        if self._library is None:
            raise NotCompiled(self._reason)
        try:
            program = Library(self._library, len(examples_of(self._spec)), calls_at_once=self._threads)
        except ProgramFailed as error:
            raise NotCompiled(str(error)) from error
        return CompiledStep(self._spec, program, self._threads)

    def close(self) -> None:
        """End the child, if it lives."""
        self._closing.set()
        self._thread.join()

    def _work(self) -> None:
        try:
            self._library = self._found_or_made()
        except (CannotCompile, OSError) as error:
            self._reason = str(error)

    def _found_or_made(self) -> Path:
        folder, key = ProgramFolder(self._folder), self._spec.key()
        library = folder.find(key)
        if library is None:
            if not has_compiler():
                raise CannotCompile("no C++ compiler was found (g++, or what CXX names)")
            folder.fill(key, self._spec.model_dump_json().encode(), compile_in_child, self._closing.is_set)
            library = folder.find(key)
        if library is None:
            raise CannotCompile("what was compiled is gone again")
        return library


class StepCompiler:
    """Compiles the meta-steps of one model; what was compiled before lies in a folder."""

    def __init__(self, card: Card, folder: Path, tell: Callable[[str], None] = lambda reason: None) -> None:
        self._card, self._folder = card, folder
        self.tell = tell
        """Called with the reason where a step cannot be compiled."""

    def start(self, meta: MetaParams, episodes: Episode, steps: int) -> Compiling:
        """Begin to compile the step for meta-batches like this one."""
        threads = torch.get_num_threads()
        size = threaded_size(episodes, sum(leaf.numel() for leaf in meta.trained.values()), threads)
        part = next(parts(episodes, size))
        return Compiling(spec_of(self._card, meta, part, steps), self._folder, threads)
