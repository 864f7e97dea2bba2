"""The training child: one job, from frames on a pipe to frames on a pipe. It has no store, no network and no files.

It is given `job` (with the request, the threads, the device), then `dataset` and `checkpoint` where there are such,
then `begin`. It tells of `progress`, `checkpoint`, and at its end `finished`, `stopped` or `failed`. After `finished`
it compares what it is sent with `compare`, until the pipe closes. It dies with its parent: whoever holds the other
end of its input is the only one it works for.
"""

import os
import queue
import signal
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import torch

from app.datasets.stored import dataset_of
from app.jobs.finished import completed_model, provenance_of
from app.jobs.frames import Frame, read_frame, write_frame
from app.jobs.model_files import ModelFiles, model_of
from app.jobs.plan import PlannedRun, planned_run
from app.jobs.promotion import compare
from app.learners.model import Model, as_tree
from app.task_distributions.registry import Datasets
from app.training.evaluate import Estimate
from app.training.memory import keep_memory
from app.training.run import Progress, train
from app.training.state import RunState, state_bytes, state_of
from app.training.step_compiler import StepCompiler
from app.trees import sha256, to_bytes
from innerloop.errors import InnerloopError, TrainingDiverged
from innerloop.wire import Limits, MetaTrainRequest

PROGRESS_EVERY_SECONDS = 0.5
CHECKPOINT_EVERY_SECONDS = 30.0
"""Beside those at validations: what a crash may cost when validations are far apart."""
NICENESS = 10
"""Training gives way to the service beside it."""


@dataclass(frozen=True)
class Assignment:
    """What the parent sent before `begin`."""

    job_id: str
    request: MetaTrainRequest
    limits: Limits
    threads: int
    device: torch.device
    programs: Path | None
    """Folder of what is compiled; None: every step is eager."""
    datasets: Datasets
    data_sha256: dict[str, str]
    start: RunState | None


def main() -> None:
    """Work on the job that comes over standard input, and answer on standard output."""
    source, sink = sys.stdin.buffer, os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # whatever a library prints must not end up between the frames
    os.nice(NICENESS)
    for sent_to_all in (signal.SIGINT, signal.SIGTERM):  # by a terminal, by systemd: the parent says when to stop
        signal.signal(sent_to_all, signal.SIG_IGN)
    assignment = _assignment(source)
    if assignment is None:
        return
    torch.set_num_threads(assignment.threads)
    keep_memory()
    inbox = _Inbox(source)
    try:
        _work(assignment, inbox, sink)
    except InnerloopError as error:
        write_frame(sink, Frame("failed", {"code": error.code, "detail": error.detail}))
    except BrokenPipeError:
        return


def _assignment(source: IO[bytes]) -> Assignment | None:
    """Return what is to be done, None when the parent went away before it said all of it."""
    frames = {frame.kind: frame for frame in _until_begin(source)}
    if "begin" not in frames:
        return None
    head = frames["job"].head
    data = frames.get("dataset")
    checkpoint = frames.get("checkpoint")
    return Assignment(
        job_id=head["job_id"],
        request=MetaTrainRequest.model_validate(head["request"]),
        limits=Limits.model_validate(head["limits"]),
        threads=head["threads"],
        device=torch.device(head["device"]),
        programs=Path(head["programs"]) if head.get("programs") else None,
        datasets={data.head["name"]: dataset_of(data.payload)} if data else {},
        data_sha256={data.head["name"]: sha256(data.payload)} if data else {},
        start=state_of(checkpoint.payload) if checkpoint else None,
    )


def _until_begin(source: IO[bytes]) -> Iterator[Frame]:
    while (frame := read_frame(source)) is not None:
        yield frame
        if frame.kind == "begin":
            return


class _Inbox:
    """Reads what the parent says while the training runs; ends the process when the parent is gone."""

    def __init__(self, source: IO[bytes]) -> None:
        self.stop = threading.Event()
        self.compare: queue.SimpleQueue[Frame] = queue.SimpleQueue()
        threading.Thread(target=self._read, args=(source,), daemon=True).start()

    def _read(self, source: IO[bytes]) -> None:
        try:
            while (frame := read_frame(source)) is not None:
                if frame.kind == "stop":
                    self.stop.set()
                elif frame.kind == "compare":
                    self.compare.put(frame)
        finally:
            os._exit(0)  # at once, in the midst of whatever computes: nobody will take what it gives


def _work(assignment: Assignment, inbox: _Inbox, sink: IO[bytes]) -> None:
    planned = planned_run(assignment.request, assignment.datasets, assignment.limits)
    state = _trained(assignment, planned, inbox, sink)
    if state is None:
        write_frame(sink, Frame("stopped", {}))
        return
    if not state.best_iteration:
        raise TrainingDiverged(f"no validation was finite in {state.iteration} iterations; a lower rate may help")
    data = {name: {"sha256": digest} for name, digest in assignment.data_sha256.items()}
    provenance = provenance_of(assignment.request, state, str(assignment.device), job_id=assignment.job_id, data=data)
    tasks = assignment.request.tasks.model_dump(exclude_none=True)
    trained = Model(planned.card, planned.learner, state.best)
    model = completed_model(trained, tasks, assignment.datasets, provenance)
    weights = to_bytes(as_tree(model.meta))
    write_frame(sink, Frame("finished", {"card": model.card.model_dump(mode="json")}, weights))
    _compare_on_demand(model, planned, assignment.device, inbox, sink)


def _trained(assignment: Assignment, planned: PlannedRun, inbox: _Inbox, sink: IO[bytes]) -> RunState | None:
    """Return the state at the run's end; None when it was told to stop, after its state was sent."""
    state = assignment.start
    told = saved = since = time.monotonic()
    first = (state.iteration if state else 0) + 1
    compiler = StepCompiler(planned.card, assignment.programs, _tell) if assignment.programs else None
    run = train(planned.plan, planned.learner, planned.training, planned.validation, assignment.device, state, compiler)
    for progress in run:
        moment = time.monotonic()
        stopping = inbox.stop.is_set()
        saving = progress.validation is not None or stopping or moment - saved >= CHECKPOINT_EVERY_SECONDS
        if not (saving or progress.iteration == first or moment - told >= PROGRESS_EVERY_SECONDS):
            continue
        told = moment
        if progress.iteration <= first:  # the slowest one by far: it loads what others find loaded
            since, rate = moment, None
        else:
            rate = (progress.iteration - first) * planned.plan.meta_batch_size / (moment - since)
        write_frame(sink, Frame("progress", _numbers(progress, rate)))
        if saving:
            state, saved = progress.state(), moment
            write_frame(sink, Frame("checkpoint", {"iteration": state.iteration}, state_bytes(state)))
        if stopping and progress.iteration < planned.plan.iterations:
            return None
    assert state is not None  # a plan has at least one iteration, and the last one validates
    return state


def _tell(reason: str) -> None:
    """Say why steps are eager, where the parent's own log goes."""
    print(reason, file=sys.stderr, flush=True)


def _numbers(progress: Progress, tasks_per_second: float | None) -> dict[str, float | int | None]:
    """Return what is told of an iteration; a validation's numbers are None where it has none or they are not finite."""
    validation = progress.validation or {}
    return {
        "iteration": progress.iteration,
        "meta_loss": _finite(float(progress.meta_loss)),
        "validation_loss": _mean(validation.get("loss")),
        "validation_accuracy": _mean(validation.get("accuracy")),
        "tasks_per_second": None if tasks_per_second is None else round(tasks_per_second, 1),
    }


def _mean(value: Estimate | None) -> float | None:
    return None if value is None else _finite(value.mean)


def _finite(number: float) -> float | None:
    return number if number - number == 0.0 else None


def _compare_on_demand(
    candidate: Model, planned: PlannedRun, device: torch.device, inbox: _Inbox, sink: IO[bytes]
) -> None:
    """Answer each `compare`; the process ends when the parent closes the pipe."""
    while True:
        frame = inbox.compare.get()
        active = model_of(ModelFiles.of(frame.head["card"], frame.payload))
        found = compare(candidate, active, planned.validation, device)
        write_frame(sink, Frame("compared", {**found._asdict(), "better": found.better}))
