"""Compiling meta-steps in the background: a child process for each, and a folder of what they made."""

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable
from pathlib import Path

import torch

from app.card import Card
from app.episode import Episode, MetaParams
from app.training.portions import parts, threaded_size
from app.training.step_program import CompiledStep, Program
from app.training.step_spec import StepSpec, spec_of

COMMAND = (sys.executable, "-c", "from app.training.step_child import main; main()")
ROOT = Path(__file__).resolve().parent.parent.parent
MAX_SECONDS = 900.0
"""Longer than this no compiling takes: 20 s for a perceptron, a minute for conv4, on a busy core ten times that."""


class NotCompiled(Exception):
    """A step has no compiled form here, with the reason."""


class Compiling:
    """One step on its way to being compiled."""

    def __init__(self, spec: StepSpec, folder: Path, threads: int) -> None:
        self._spec, self._threads = spec, threads
        self._library = folder / f"{spec.key()}.so"
        self._reason, self._closed = "", False
        self._process: subprocess.Popen[bytes] | None = None
        self._thread = threading.Thread(target=self._work, name="step-compiler", daemon=True)
        self._thread.start()

    def result(self, timeout_seconds: float) -> CompiledStep | None:
        """Return the compiled step, None when it is not there within so long; NotCompiled when it never will be."""
        self._thread.join(timeout_seconds)
        if self._thread.is_alive():
            return None
        if self._reason:
            raise NotCompiled(self._reason)
        try:
            return CompiledStep(self._spec, Program(self._library, self._threads), self._threads)
        except OSError as error:
            raise NotCompiled(str(error)) from error

    def close(self) -> None:
        """End the child, if it lives."""
        self._closed = True
        self._kill()
        self._thread.join()

    def _kill(self) -> None:
        if self._process is not None and self._process.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)

    def _work(self) -> None:
        if self._library.is_file():
            return
        try:
            self._reason = self._compile() if compiler_found() else "no C++ compiler was found (g++, or what CXX names)"
        except (OSError, subprocess.SubprocessError) as error:
            self._reason = f"{type(error).__name__}: {error}"

    def _compile(self) -> str:
        """Run the child, and return why there is no library; an empty string when there is one."""
        self._library.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=self._library.parent, prefix="compiling-") as folder:
            made = Path(folder) / "step.so"
            environment = {**os.environ, "OMP_NUM_THREADS": "1", "TORCHINDUCTOR_CACHE_DIR": folder}
            self._process = subprocess.Popen(
                COMMAND,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                env=environment,
                cwd=ROOT,
                process_group=0,  # ended together with its C++ compiler
            )
            reason = self._told(self._process, {"spec": self._spec.model_dump_json(), "library": str(made)})
            if not reason and made.is_file():
                made.replace(self._library)
            elif not reason:
                reason = f"the compiling process ended with status {self._process.returncode}"
        return reason

    def _told(self, process: subprocess.Popen[bytes], asked: dict[str, str]) -> str:
        """Return the child's last words; its input stays open meanwhile."""
        assert process.stdin is not None
        assert process.stdout is not None
        ender = threading.Timer(MAX_SECONDS, self._kill)
        ender.daemon = True
        ender.start()
        if self._closed:
            self._kill()
        try:
            process.stdin.write(json.dumps(asked).encode() + b"\n")
            process.stdin.flush()
            return process.stdout.read().decode(errors="replace")
        finally:
            ender.cancel()
            process.stdin.close()
            process.stdout.close()
            process.wait()


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


def compiler_found() -> bool:
    """Tell whether this machine has the C++ compiler that programs are made by."""
    return shutil.which(os.environ.get("CXX") or ("clang++" if sys.platform == "darwin" else "g++")) is not None
