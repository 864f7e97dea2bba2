"""The training child over real pipes: what it is told, what it tells, and how it ends."""

import contextlib
import io
import os
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from app.jobs.frames import LENGTHS, Frame, write_frame
from app.jobs.model_files import ModelFiles, model_of
from app.jobs.process import COMMAND, Child, ChildDied
from app.programs.process import has_compiler
from app.training.state import state_of
from app.trees import from_bytes, to_bytes
from innerloop.wire import Limits

WAIT_SECONDS = 120.0
REQUEST: dict[str, Any] = {
    "name": "waves",
    "learner": {"kind": "maml"},
    "network": {"kind": "mlp", "hidden": [8]},
    "tasks": {"kind": "sinusoid", "shots": 5, "queries": 5},
    "iterations": 20,
    "meta_batch_size": 2,
    "validate_every": 10,
}
BEGIN = Frame("begin", {})


def job(**fields: Any) -> Frame:
    head = {"job_id": "job-1", "threads": 1, "limits": Limits().model_dump(), "device": "cpu"}
    return Frame("job", {**head, "request": {**REQUEST, **fields}})


@contextlib.contextmanager
def child(*frames: Frame) -> Iterator[Child]:
    """Start a child and tell it `frames`."""
    running = Child(threads=1)
    try:
        running.send(*frames)
        yield running
    finally:
        running.close()


def said(child: Child, *last: str) -> list[Frame]:
    """Return what a child says up to a frame of one of the kinds."""
    deadline = time.monotonic() + WAIT_SECONDS
    frames: list[Frame] = []
    while not frames or frames[-1].kind not in last:
        assert time.monotonic() < deadline, [frame.kind for frame in frames]
        frame = child.next_frame(1.0)
        if frame is not None:
            frames.append(frame)
    return frames


def of_kind(frames: list[Frame], kind: str) -> list[Frame]:
    return [frame for frame in frames if frame.kind == kind]


@pytest.fixture(scope="module")
def finished() -> Iterator[tuple[Child, list[Frame]]]:
    """A child that has trained, still there, and all that it said; it was told of things it does not know."""
    with child(Frame("weather", {"sun": True}, b"x" * 100), job(), BEGIN, Frame("gossip", {}, b"y")) as running:
        yield running, said(running, "finished", "failed")


def test_job_ends_with_a_model_that_can_be_served(finished: tuple[Child, list[Frame]]) -> None:
    last = finished[1][-1]
    assert last.kind == "finished", last.head
    model = model_of(ModelFiles.of(last.head["card"], last.payload))
    assert (model.card.name, model.card.provenance["job_id"]) == ("waves", "job-1")
    assert model.card.provenance["request"]["network"] == REQUEST["network"]
    assert model.card.metrics.keys() >= {"validation", "test"}
    assert model.card.default_steps is not None


def test_the_first_iteration_and_every_validation_are_told(finished: tuple[Child, list[Frame]]) -> None:
    told = [frame.head for frame in of_kind(finished[1], "progress")]
    assert told[0]["iteration"] == 1
    assert told[0]["tasks_per_second"] is None
    assert [head["iteration"] for head in told] == sorted({head["iteration"] for head in told})
    validated = [head["iteration"] for head in told if head["validation_loss"] is not None]
    assert validated == [10, 20]
    assert all(head["tasks_per_second"] > 0 for head in told[1:])


def test_each_validation_is_followed_by_a_checkpoint_of_its_iteration(finished: tuple[Child, list[Frame]]) -> None:
    checkpoints = of_kind(finished[1], "checkpoint")
    assert [frame.head["iteration"] for frame in checkpoints] == [10, 20]
    assert [state_of(frame.payload).iteration for frame in checkpoints] == [10, 20]


def test_finished_child_compares_what_it_is_sent(finished: tuple[Child, list[Frame]]) -> None:
    running, frames = finished
    card, weights = frames[-1].head["card"], frames[-1].payload
    broken = {name: leaf * torch.nan for name, leaf in from_bytes(weights).items()}
    running.send(Frame("nonsense", {}), Frame("compare", {"card": card}, weights))
    running.send(Frame("compare", {"card": card}, to_bytes(broken)))
    same, worse = (said(running, "compared")[-1].head for _ in range(2))
    assert (same["difference"], same["better"], same["score"]) == (0.0, False, "minus_loss")
    assert worse["better"] is True
    assert worse["num_tasks"] == same["num_tasks"] == 600


def test_stopped_child_leaves_a_checkpoint_from_which_another_ends_with_the_same_weights(
    finished: tuple[Child, list[Frame]],
) -> None:
    long = {"iterations": 400, "validate_every": 400, "meta_batch_size": 1}
    with child(job(**long), BEGIN) as running:
        first = said(running, "progress")
        running.send(Frame("stop", {}))
        frames = first + said(running, "stopped", "finished")
    assert frames[-1].kind == "stopped"
    assert frames[-2].kind == "checkpoint"
    reached = frames[-2].head["iteration"]
    assert 1 <= reached < 400
    assert of_kind(frames, "progress")[-1].head["iteration"] == reached
    with child(job(**long), Frame("checkpoint", {}, frames[-2].payload), BEGIN) as running:
        resumed = said(running, "finished", "failed")
    with child(job(**long), BEGIN) as running:
        undisturbed = said(running, "finished", "failed")
    assert of_kind(resumed, "progress")[0].head["iteration"] == reached + 1
    assert resumed[-1].payload == undisturbed[-1].payload


def test_job_stopped_while_its_step_is_compiled_ends_with_the_weights_of_one_that_never_stopped(
    tmp_path: Path,
) -> None:
    """Where no compiler is, all three are eager."""
    compiled = job(iterations=60, compile="always")
    compiled.head["programs"] = str(tmp_path)
    with child(compiled, BEGIN) as running:
        frames = said(running, "progress")
        running.send(Frame("stop", {}))
        frames += said(running, "stopped", "finished")
    if has_compiler():
        assert frames[-1].kind == "stopped"
        assert frames[-2].head["iteration"] <= 3, "it waits at the fourth, and stops all the same"
    start = of_kind(frames, "checkpoint")[-1].payload
    with child(compiled, Frame("checkpoint", {}, start), BEGIN) as running:
        resumed = said(running, "finished", "failed")[-1]
    with child(compiled, BEGIN) as running:
        undisturbed = said(running, "finished", "failed")[-1]
    assert resumed.payload == undisturbed.payload
    steps = [frame.head["card"]["provenance"].get("compiled_steps", 0) for frame in (resumed, undisturbed)]
    assert steps == ([57, 57] if has_compiler() else [0, 0])


def test_checkpoint_of_the_last_iteration_is_only_to_be_finished(finished: tuple[Child, list[Frame]]) -> None:
    frames = finished[1]
    with child(job(), Frame("checkpoint", {}, of_kind(frames, "checkpoint")[-1].payload), BEGIN) as running:
        again = said(running, "finished", "failed")
    assert [frame.kind for frame in again] == ["finished"]
    assert again[-1].payload == frames[-1].payload


def test_job_that_diverges_fails_with_the_iteration() -> None:
    wild = {"optimizer": "sgd", "meta_learning_rate": 9.9, "clip_norm": None, "learner": {"kind": "maml", "steps": 5}}
    with child(job(**wild, iterations=500, validate_every=500), BEGIN) as running:
        last = said(running, "failed", "finished")[-1]
    assert (last.kind, last.head["code"]) == ("failed", "training-diverged")
    assert "iteration " in last.head["detail"]


def test_job_that_cannot_be_planned_fails_with_the_field() -> None:
    with child(job(network={"kind": "conv4"}), BEGIN) as running:
        last = said(running, "failed", "finished")[-1]
    assert (last.kind, last.head["code"]) == ("failed", "invalid-request")
    assert "conv4" in last.head["detail"]


def bytes_of(*frames: Frame) -> bytes:
    stream = io.BytesIO()
    for frame in frames:
        write_frame(stream, frame)
    return stream.getvalue()


CUT_OFF = {
    "nothing at all": b"",
    "in the midst of the lengths": LENGTHS.pack(100, 0)[:5],
    "in the midst of a head": bytes_of(job())[:60],
    "in the midst of a payload": bytes_of(job(), Frame("checkpoint", {}, bytes(1000)))[:-500],
    "before it was told to begin": bytes_of(job()),
}


@pytest.mark.parametrize("data", CUT_OFF.values(), ids=CUT_OFF.keys())
def test_child_whose_parent_leaves_too_early_ends_without_a_word(data: bytes) -> None:
    done = subprocess.run(COMMAND, input=data, capture_output=True, timeout=WAIT_SECONDS)
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")


def test_child_ends_at_once_when_its_parent_leaves_in_the_midst_of_training() -> None:
    process = subprocess.Popen(COMMAND, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write(bytes_of(job(iterations=100_000, validate_every=100_000), BEGIN))
    process.stdin.flush()
    process.stdout.read(1)  # it trains
    process.stdin.close()
    left = time.monotonic()
    assert process.wait(WAIT_SECONDS) == 0
    assert time.monotonic() - left < 2.0
    process.stdout.close()


def test_child_that_is_killed_is_told_with_its_status() -> None:
    with child(job(), BEGIN) as running:
        os.kill(running.pid, signal.SIGKILL)
        with pytest.raises(ChildDied, match="-9"):
            said(running, "finished")


def test_telling_a_child_that_does_not_listen_yet_does_not_wait_for_it() -> None:
    with child() as running:
        os.kill(running.pid, signal.SIGSTOP)
        began = time.monotonic()
        running.send(Frame("dataset", {"name": "large"}, bytes(4 << 20)), job(), BEGIN)
        assert time.monotonic() - began < 1.0
        assert running.next_frame(0.1) is None


@pytest.mark.parametrize("sig", [signal.SIGINT, signal.SIGTERM])
def test_signal_that_everybody_gets_is_left_to_the_parent(sig: signal.Signals) -> None:
    """Ctrl-C goes to a terminal's whole group, systemd's SIGTERM to all; the checkpoint must still be written."""
    with child(job(iterations=100_000, validate_every=100_000), BEGIN) as running:
        said(running, "progress")
        assert os.getpgid(running.pid) != os.getpgrp()
        os.kill(running.pid, sig)
        said(running, "progress")
        running.send(Frame("stop", {}))
        assert [frame.kind for frame in said(running, "stopped")][-2:] == ["checkpoint", "stopped"]


def test_child_that_nobody_listens_to_fills_no_memory() -> None:
    wide = {"network": {"kind": "mlp", "hidden": [128, 128]}}  # its checkpoints are larger than the pipe
    with child(job(**wide, iterations=100_000, validate_every=1), BEGIN) as running:
        frames = said(running, "checkpoint")
        time.sleep(3.0)
        os.kill(running.pid, signal.SIGKILL)
        with contextlib.suppress(ChildDied):
            while (frame := running.next_frame(10.0)) is not None:
                frames.append(frame)
    assert len(of_kind(frames, "checkpoint")) <= 4
