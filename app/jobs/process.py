"""The training child as its parent sees it: a process, frames into it, frames out of it."""

import contextlib
import os
import queue
import subprocess
import sys
import threading

from app.jobs.frames import Frame, read_frame, write_frame

COMMAND = (sys.executable, "-c", "from app.jobs.child import main; main()")
"""Spawned and not forked: a device context does not survive a fork, nor do a server's threads."""
END_SECONDS = 5.0
"""How long a process may take to end after its last word."""
JOIN_SECONDS = 0.01
FRAMES_AHEAD = 2
"""What has been read and not been taken: a child that is faster than the store waits, and fills no memory."""


class Child:
    """One training process; it ends when `close` was called, or when this process ends in whatever way."""

    def __init__(self, threads: int) -> None:
        environment = {**os.environ, "OMP_NUM_THREADS": str(threads)}
        self._process = subprocess.Popen(
            COMMAND,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=environment,
            process_group=0,  # Ctrl-C is for this process, which asks the child for a checkpoint
        )
        self._told: queue.SimpleQueue[Frame | None] = queue.SimpleQueue()
        self._frames: queue.Queue[Frame | None] = queue.Queue(FRAMES_AHEAD)
        self._threads = [
            threading.Thread(target=work, name=f"training-child-{work.__name__.strip('_')}", daemon=True)
            for work in (self._write, self._read)
        ]
        for thread in self._threads:
            thread.start()

    @property
    def pid(self) -> int:
        """The process id."""
        return self._process.pid

    def send(self, *frames: Frame) -> None:
        """Tell the child something, without waiting until it listens: it may take seconds to start.

        What a child that has just died was told is lost, and its end is seen next.
        """
        for frame in frames:
            self._told.put(frame)

    def next_frame(self, timeout_seconds: float) -> Frame | None:
        """Return what the child says next, None when it said nothing for so long; ChildDied when it has ended."""
        try:
            frame = self._frames.get(timeout=timeout_seconds)
        except queue.Empty:
            return None
        if frame is None:
            raise ChildDied(self._end())
        return frame

    def close(self) -> None:
        """Kill the child, if it lives, and wait for its end; its checkpoints are what counts."""
        self._process.kill()
        self._process.wait()
        self._told.put(None)
        for thread in self._threads:
            while thread.is_alive():  # the reader may wait until somebody takes what it has
                with contextlib.suppress(queue.Empty):
                    self._frames.get_nowait()
                thread.join(JOIN_SECONDS)
        for stream in (self._process.stdin, self._process.stdout):
            assert stream is not None
            with contextlib.suppress(BrokenPipeError):
                stream.close()

    def _end(self) -> str:
        try:
            return f"the training process ended with status {self._process.wait(END_SECONDS)}"
        except subprocess.TimeoutExpired:
            return "the training process lives and says nothing that can be read"

    def _write(self) -> None:
        assert self._process.stdin is not None
        with contextlib.suppress(BrokenPipeError):
            while (frame := self._told.get()) is not None:
                write_frame(self._process.stdin, frame)

    def _read(self) -> None:
        assert self._process.stdout is not None
        try:
            while (frame := read_frame(self._process.stdout)) is not None:
                self._frames.put(frame)
        finally:
            self._frames.put(None)


class ChildDied(Exception):
    """The training process ended without having said its last word."""
